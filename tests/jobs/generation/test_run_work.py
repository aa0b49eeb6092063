"""What a row can do to its actor, with a real board, a real store, and work that fails on purpose."""

from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import torch

from fv_ray.artifact_store import ArtifactStore
from fv_ray.blobs import open_blobs
from fv_ray.errors import InputError, NumericalError, StorageError
from fv_ray.types import OnProgress
from jobs.generation.mark_rows import RowMarks
from jobs.generation.run_work import FAILED, LEFT, MADE
from jobs.generation.watch_rows import read_figures, start_board
from tests.artifact_writer import key
from tests.jobs.generation.deadly_rows import KEY, Deadly, new_runner, run, write_video

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


def write_nothing(_given: Path, made: Path, _on_progress: OnProgress) -> None:
    (made / "video.mp4").write_bytes(b"")


def raising(error: Exception) -> Callable[..., None]:
    def make(*_: object) -> None:
        raise error

    return make


@pytest.mark.parametrize(
    ("make", "code", "attempts"),
    [
        (raising(NumericalError("latents are not finite")), "numerical_error", 1),
        (raising(InputError("too large")), "input_error", 1),
        (raising(torch.OutOfMemoryError("tried to allocate 40 GiB")), "out_of_memory", 2),
        (raising(MemoryError()), "out_of_memory", 2),
        (write_nothing, "result_empty", 3),
        (raising(ZeroDivisionError("nobody thought of it")), "unexpected_error", 3),
    ],
)
def test_what_a_row_does_ends_with_the_row(make: Callable[..., None], code: str, attempts: int, tmp_path: Path) -> None:
    board, url = start_board(), str(tmp_path)
    runner, marks = new_runner(url, board), RowMarks(open_blobs(url))
    assert run(runner, make) == FAILED
    error = marks.error(KEY)
    assert error is not None
    assert (error.code, error.attempts, error.stage) == (code, attempts, "stage_two")
    assert run(runner, write_video, key(2)) == MADE
    figures = read_figures(board)["stage_two"]
    assert (figures.num_made, figures.num_failed, figures.phase_s) == (1, 1, {"refine": 0.5})
    assert marks.read_all() == ({KEY}, {})


def test_what_another_launch_has_made_is_taken(tmp_path: Path) -> None:
    board, url = start_board(), str(tmp_path)
    assert run(new_runner(url, board), write_video) == MADE
    assert run(new_runner(url, start_board()), raising(ZeroDivisionError())) == MADE


def test_what_is_stored_and_damaged_is_made_again(tmp_path: Path) -> None:
    runner, store = new_runner(str(tmp_path), start_board()), ArtifactStore.open(str(tmp_path))
    assert run(runner, write_video) == MADE
    record = store.find(KEY)
    assert record is not None
    (tmp_path / record.artifacts["video.mp4"].path).write_bytes(b"other!")
    assert run(runner, write_video) == MADE
    again = store.find_whole(KEY)
    assert again is not None
    assert again.artifacts == record.artifacts


def test_a_store_that_refuses_ends_the_launch_and_not_the_row(tmp_path: Path) -> None:
    runner, url = new_runner(str(tmp_path), start_board()), str(tmp_path)
    (tmp_path / "w").write_text("no folder")
    with pytest.raises(StorageError):
        run(runner, write_video)
    assert RowMarks(open_blobs(url)).error(KEY) is None


def test_who_drains_begins_nothing(tmp_path: Path) -> None:
    board = start_board()
    ray.get(board.drain.remote())
    assert run(new_runner(str(tmp_path), board), write_video) == LEFT
    assert ArtifactStore.open(str(tmp_path)).find(KEY) is None


def test_a_row_that_kills_or_hangs_its_actor_is_an_error_and_its_neighbours_are_made(tmp_path: Path) -> None:
    board, url = start_board(), str(tmp_path)
    rows = [{"key": key(number), "does": does} for number, does in enumerate(("", "die", "", "hang", ""))]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Deadly,
        fn_constructor_kwargs={"url": url, "board": board},
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=1, max_tasks_in_flight_per_actor=2),
    )
    found = {row["key"]: row["status"] for row in dataset.iter_rows()}
    assert found == {row["key"]: FAILED if row["does"] else MADE for row in rows}
    marks = RowMarks(open_blobs(url))
    for number in (1, 3):
        error = marks.error(key(number))
        assert error is not None
        assert (error.code, error.attempts) == ("crash_loop", 3)
    failed, begun = marks.read_all()
    assert failed == set(begun) == {key(1), key(3)}
    assert set(begun.values()) == {3}


def test_a_death_with_its_node_does_not_count() -> None:
    board = start_board()
    here = ray.get_runtime_context().get_node_id()

    def begin(node: str) -> int | None:
        return ray.get(board.begin.remote("stage_one", KEY, "actor", node))

    assert [begin("0" * 56), begin("1" * 56), begin(here)] == [0, 0, 0]
    assert [begin(here), begin(here)] == [1, 2]
    ray.get(board.end.remote("stage_one", KEY, "actor", {}, {}))
    assert begin(here) == 0
