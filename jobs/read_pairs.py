"""Options of the form NAME=VALUE to a mapping."""

from collections.abc import Sequence

from fv_ray.errors import InputError


def read_pairs(option: str, arguments: Sequence[str]) -> dict[str, str]:
    """The values by name, in the order given.

    Args:
        option: what the arguments were given with, for the message.
        arguments: what a person wrote.

    Raises:
        InputError: one is not NAME=VALUE, or a name comes twice.
    """
    values: dict[str, str] = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if not name or not value:
            raise InputError(f"{option} is {argument!r}; it must be NAME=VALUE; write it so")
        if name in values:
            raise InputError(f"{option} {name} is given twice; each name may be there once; leave one out")
        values[name] = value
    return values
