import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from deployments.http.byte_ranges import Selection, select_bytes

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("headers", "selection"),
    [
        ({}, Selection(200, 0, 10)),
        ({"range": "bytes=0-3"}, Selection(206, 0, 4)),
        ({"range": "bytes=4-"}, Selection(206, 4, 10)),
        ({"range": "bytes=4-99"}, Selection(206, 4, 10)),
        ({"range": "bytes=-3"}, Selection(206, 7, 10)),
        ({"range": "bytes=-99"}, Selection(206, 0, 10)),
        ({"range": "bytes=10-"}, Selection(416)),
        ({"range": "bytes=-0"}, Selection(416)),
        ({"range": "bytes=3-1"}, Selection(200, 0, 10)),
        ({"range": "bytes=0-1,4-5"}, Selection(200, 0, 10)),
        ({"range": "lines=0-1"}, Selection(200, 0, 10)),
        ({"range": "bytes=" + "9" * 5000 + "-"}, Selection(200, 0, 10)),
        ({"range": "bytes=0-3", "if-range": ETAG}, Selection(206, 0, 4)),
        ({"range": "bytes=0-3", "if-range": '"old"'}, Selection(200, 0, 10)),
        ({"if-none-match": f'"old", W/{ETAG}'}, Selection(304)),
        ({"if-none-match": '"old"'}, Selection(200, 0, 10)),
        ({"if-match": '"old"'}, Selection(412)),
        ({"if-match": "*"}, Selection(200, 0, 10)),
    ],
)
def test_conditions_and_ranges(headers: dict[str, str], selection: Selection) -> None:
    assert select_bytes(Headers(headers), ETAG, 10) == selection


@given(wanted=st.from_regex(r"bytes=[0-9]{0,3}-[0-9]{0,3}", fullmatch=True), num_bytes=st.integers(0, 100))
def test_no_range_reaches_beyond_the_file(wanted: str, num_bytes: int) -> None:
    selection = select_bytes(Headers({"range": wanted}), ETAG, num_bytes)
    assert 0 <= selection.start <= selection.end <= num_bytes
    assert selection.status != 206 or selection.start < selection.end
