"""A call of a store that does not answer now, repeated until it does."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from fv_ray.errors import StoreUnavailable

PATIENCE_S = 300
"""After it the launch ends, to be given again: devices that wait cost money too."""

P = ParamSpec("P")
T = TypeVar("T")


def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the call gives.

    Raises:
        StoreUnavailable: the store has not answered for `PATIENCE_S`.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=wait_random_exponential(multiplier=0.5, max=15),
        stop=stop_after_delay(PATIENCE_S),
        reraise=True,
    )
    return retrying(call, *args, **kwargs)
