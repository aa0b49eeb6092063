import pytest

from fv_ray.errors import InputError
from jobs.generation.make_rows import Workers, make_pool
from jobs.generation.make_stages import StageTwoWorker


@pytest.mark.parametrize(
    ("text", "least", "most"), [("1:", 1, None), ("4", 4, 4), ("2:8", 2, 8), ("8:2", 0, 0), ("0", 0, 0), ("a", 0, 0)]
)
def test_how_many_workers_there_are(text: str, least: int, most: int | None) -> None:
    if least:
        assert Workers.read("--stage-one-workers", text, None) == Workers(least, most)
        return
    with pytest.raises(InputError, match="--stage-one-workers is '.*'; allowed are N, LEAST: and LEAST:MOST"):
        Workers.read("--stage-one-workers", text, None)


@pytest.mark.parametrize(
    ("wanted", "share", "most", "num_gpus"),
    [
        (Workers(), 0.5, 1, 0.5),
        (Workers(most=2), 0.5, 2, 0.5),
        (Workers(num_gpus=0.5), 0.5, None, 0.5),
        (Workers(), 1, None, 1),
        (Workers(), 0, None, 0),
        (Workers(num_gpus=0), 1, None, 0),
    ],
)
def test_half_a_gpu_is_for_one_actor_unless_more_are_asked_for(
    wanted: Workers, share: float, most: int | None, num_gpus: float
) -> None:
    pool = make_pool(StageTwoWorker, wanted, 1, share)
    assert (pool.min_workers, pool.max_workers, pool.num_gpus) == (1, most, num_gpus)
