"""Pages, and counts that end."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth.base.errors import UsageError
from troth.view.paging import (
    Blob,
    Count,
    Page,
    blob,
    capped,
    cursor,
    later,
    position,
    rows_of,
    scanned_page,
)

NOW = datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=UTC)


@given(
    st.integers(-(2**63), 2**63 - 1), st.text(), st.uuids(), st.datetimes(timezones=st.just(UTC))
)
def test_a_cursor_comes_back(number: int, text: str, run: UUID, at: datetime) -> None:
    made = cursor(number, text, run, later(at))
    assert made.isascii()
    assert not set(made) & set("+/=&?# ")
    assert position(made, int, str, UUID, datetime) == (number, text, run, at)


def test_without_a_cursor_there_is_no_position() -> None:
    assert position(None, int, str) == (None, None)


@pytest.mark.parametrize("after", ["", "x", "é", "AAAA", cursor("text"), cursor(1, 2), "9" * 5000])
def test_what_is_no_cursor_is_refused(after: str) -> None:
    with pytest.raises(UsageError, match="begin with the first page"):
        position(after, int)


def test_counts_say_that_there_are_more() -> None:
    assert str(capped(100, 100)) == "100"
    assert str(capped(101, 100)) == "100+"
    assert str(Count(1_234_567)) == "1,234,567"


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_length(limit: int) -> None:
    with pytest.raises(UsageError, match="1 to 1000 rows"):
        rows_of(limit)


def test_a_page_that_is_full_goes_on_after_its_last_row() -> None:
    assert scanned_page([1, 2], 2, 10, 10, "row", "scan") == Page((1, 2), "row")


def test_a_page_that_looked_as_far_as_it_may_goes_on_from_there() -> None:
    assert scanned_page([1], 2, 10, 10, "row", "scan") == Page((1,), "scan", cut=True)


def test_the_last_page_has_no_next() -> None:
    assert scanned_page([1], 2, 9, 10, "row", "scan") == Page((1,))


def test_payloads() -> None:
    assert blob(None, None) is None
    assert blob(3, memoryview(b"abc")) == Blob(3, b"abc")
    assert Blob(10, b"abc").cut
    assert not Blob(10).cut
