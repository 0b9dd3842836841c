"""Run ids: the cell they carry, the order they have, and that no two are equal."""

import datetime as dt
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth.base.ids import MAX_CELL, cell_of, new_id, time_of


@given(st.integers(0, MAX_CELL))
def test_an_id_carries_its_cell(cell: int) -> None:
    assert cell_of(new_id(cell)) == cell


@pytest.mark.parametrize("cell", [0, 1, MAX_CELL])
def test_an_id_is_a_uuid_of_version_7(cell: int) -> None:
    made = new_id(cell)
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_an_id_tells_when_it_was_made() -> None:
    before = int(time.time() * 1000)
    made = time_of(new_id(MAX_CELL))
    after = int(time.time() * 1000)
    assert made.tzinfo is dt.UTC
    assert before <= round(made.timestamp() * 1000) <= after


def test_a_known_id_is_read_by_rfc_9562() -> None:
    # The example of RFC 9562, appendix A.6: Tuesday, February 22, 2022 2:22:22.00 PM GMT-05:00.
    known = uuid.UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert time_of(known) == dt.datetime(2022, 2, 22, 19, 22, 22, tzinfo=dt.UTC)
    assert cell_of(known) == 0x18C4


def test_ids_of_later_milliseconds_are_greater_whatever_their_cell() -> None:
    first = new_id(MAX_CELL)
    while time_of(later := new_id(0)) == time_of(first):
        pass
    assert later > first


def test_no_two_ids_are_equal_not_even_from_many_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [
            i
            for ids in threads.map(lambda _: [new_id(5) for _ in range(5000)], range(8))
            for i in ids
        ]
    assert len(set(made)) == len(made) == 40_000
