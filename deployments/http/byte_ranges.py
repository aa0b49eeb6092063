"""Which bytes of a file a request asks for, by HTTP's conditional and range headers (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from starlette.datastructures import Headers


@dataclass(frozen=True)
class Selection:
    """An answer's status and the bytes of its body, start to end (exclusive)."""

    status: Literal[200, 206, 304, 412, 416]
    start: int = 0
    end: int = 0


def select_bytes(headers: Headers, etag: str, num_bytes: int) -> Selection:
    """What to answer.

    Args:
        headers: of the request.
        etag: of the file as it is now, with its quotes.
        num_bytes: of the file.
    """
    if not _matches(headers.get("if-match"), etag, if_missing=True):
        return Selection(412)
    if _matches(headers.get("if-none-match"), etag, if_missing=False):
        return Selection(304)
    wanted = headers.get("range")
    if wanted is None or headers.get("if-range", etag) != etag:
        return Selection(200, 0, num_bytes)
    return _select_range(wanted, num_bytes)


def _select_range(wanted: str, num_bytes: int) -> Selection:
    """One range; what is no range, or several of them, is answered with the whole file, as the RFC allows."""
    match = re.fullmatch(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", wanted, re.ASCII)
    if match is None or match[1] == match[2] == "":
        return Selection(200, 0, num_bytes)
    if match[1] == "":
        length = min(int(match[2]), num_bytes)
        return Selection(206, num_bytes - length, num_bytes) if length else Selection(416)
    start, last = int(match[1]), int(match[2]) if match[2] else num_bytes - 1
    if match[2] and last < start:
        return Selection(200, 0, num_bytes)
    return Selection(206, start, min(last + 1, num_bytes)) if start < num_bytes else Selection(416)


def _matches(condition: str | None, etag: str, *, if_missing: bool) -> bool:
    if condition is None:
        return if_missing
    tags = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return "*" in tags or etag in tags
