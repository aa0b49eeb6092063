"""Our own errors are found again in what Ray makes of them."""

from itertools import pairwise

import pytest
from ray.exceptions import RayError, RayTaskError, UserCodeException

from fv_ray.errors import InputError, StorageError
from jobs.connect_ray import RayGaveUp, connected, own_error


def raised(*errors: Exception) -> Exception:
    """The first of them, caused by the second, and so on."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def test_the_innermost_of_a_chain_is_ours() -> None:
    ours = InputError("height is 20")
    assert own_error(ours) is ours
    assert own_error(raised(RuntimeError("a worker died"), ours)) is ours
    task = RayTaskError("load", "Traceback", ours).as_instanceof_cause()
    assert own_error(task) is ours
    assert own_error(raised(UserCodeException("a task failed"), task)) is ours


def test_an_error_of_ray_that_looks_like_ours_is_told_in_our_words() -> None:
    traceback = "Traceback\nfv_ray.errors.InputError: height is 20\nto change retries, see the manual"
    task = RayTaskError("load", traceback, InputError("height is 20")).as_instanceof_cause()
    lost = InputError(str(task))
    assert str(own_error(raised(RuntimeError("a worker died"), lost))) == "height is 20"


def test_what_ray_adds_to_our_message_is_left_out() -> None:
    found = own_error(InputError("height is 20\nFailed to apply UDF transform\nTo change retry attempts, configure"))
    assert type(found) is InputError
    assert str(found) == "height is 20"


def test_where_only_a_traceback_is_left_its_last_line_of_ours_is_it() -> None:
    text = "fv_ray.errors.StorageError: a.parquet cannot be read\n\nfv_ray.errors.InputError: height is 20\nhint: retry"
    found = own_error(RuntimeError(text))
    assert type(found) is InputError
    assert str(found) == "height is 20"
    assert type(own_error(RuntimeError("fv_ray.errors.Unknown: x"))) is StorageError


def test_what_is_not_ours_is_none() -> None:
    assert own_error(raised(RuntimeError("out of memory"), ValueError("a value"))) is None


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_what_a_worker_raised_is_told_from_what_ray_did() -> None:
    task = RayTaskError("load", "Traceback", InputError("height is 20")).as_instanceof_cause()
    with pytest.raises(InputError, match=r"^height is 20$"), connected():
        raise task
    with pytest.raises(RayGaveUp, match=r"^Ray gave up \(a node died\); run the same command again$"), connected():
        raise RayError("a node died")
