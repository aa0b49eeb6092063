"""NAME=VALUE options: what is read, what is refused."""

import pytest

from fv_ray.errors import InputError
from jobs.read_pairs import read_pairs


def test_values_by_name() -> None:
    assert read_pairs("--data", ["low=a", "high=b=c"]) == {"low": "a", "high": "b=c"}
    assert read_pairs("--data", []) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed"], "--set is 'seed'; it must be NAME=VALUE; write it so"),
        (["=1"], "--set is '=1'; it must be NAME=VALUE"),
        (["seed="], "--set is 'seed='; it must be NAME=VALUE"),
        (["seed=1", "seed=1"], "--set seed is given twice; each name may be there once"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs("--set", arguments)
