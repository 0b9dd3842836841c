"""No fault makes a second object, and troth never says what is not so: a part of the matrix, and the rest as a soak."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.matrix.declarations import (
    AS_SHIPPED,
    AT_LEAST_ONCE,
    AT_MOST_ONCE,
    BLIND,
    BLIND_MAIL,
    COLUMNS,
    KEYED,
    KILL_AFTER,
    LATER_THAN_PROMISED,
    PROBED,
    REPEATABLE,
    ROWS,
    STRANGER,
    STRANGER_AS_SHIPPED,
)
from tests.matrix.matrix import Cell, Ending, cells, is_honest, lies, run
from tools import gen_matrix

FILTER = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)
# Minutes of processes: `make soak` runs it, and whoever changes what is sent.
pytestmark = [FILTER, pytest.mark.slow]

# What the SDK takes upon itself to try again; a timeout it waits out longer than troth does.
RETRIED_BY_SDK = {"reset after", "500 after", "truncate after"}


def assert_as_published(endings: Mapping[Cell, Ending]) -> None:
    published = gen_matrix.read(gen_matrix.PAGE.read_text())
    other = {
        str(cell): f"{ending}, published: {published[cell]}"
        for cell, ending in endings.items()
        if ending.verdict != gen_matrix.verdict(published[cell])
    }
    assert not other, f"run `make matrix-faults`: {other}"


@pytest.mark.parametrize(
    "declarations",
    [
        (KEYED, AS_SHIPPED),
        pytest.param((PROBED, AT_MOST_ONCE, AT_LEAST_ONCE), marks=pytest.mark.slow),
    ],
    ids=["keyed", "probed, and mail"],
)
@pytest.mark.timeout(240)  # a busy machine makes attempts time out by themselves
def test_no_fault_makes_a_second_object(migrated, tmp_path: Path, declarations) -> None:
    columns = {"customer", "refund", "mail"}
    endings = run(*migrated, tmp_path, cells(declarations, columns=columns))
    assert not lies(endings)
    assert_as_published(endings)


@pytest.mark.slow
@pytest.mark.timeout(240)  # it may have to make the environment of localstripe
def test_no_fault_makes_a_second_object_at_a_provider_by_others(migrated, tmp_path: Path) -> None:
    endings = run(*migrated, tmp_path, cells([STRANGER, STRANGER_AS_SHIPPED]))
    assert {
        cell.fault for cell, ending in endings.items() if not is_honest(cell, ending)
    } == RETRIED_BY_SDK
    assert not lies({c: e for c, e in endings.items() if c.declared is STRANGER})
    assert_as_published(endings)


def test_trying_again_without_asking_makes_two_wherever_it_can(migrated, tmp_path: Path) -> None:
    columns = {"customer", "refund", "mail"}
    endings = run(*migrated, tmp_path, cells([BLIND, BLIND_MAIL], columns=columns))
    doubled = {cell for cell, ending in endings.items() if ending.objects == 2}
    assert {str(cell) for cell in doubled} == lies(endings).keys()
    assert doubled == {cell for cell in endings if cell.fault in REPEATABLE}


def test_a_probe_is_as_good_as_the_promise_of_when_nothing_lands_any_more(
    migrated, tmp_path: Path
) -> None:
    """The request lands after the provider said that it could not: missing was not missing."""
    [[cell, ending]] = run(
        *migrated, tmp_path, cells([PROBED], [LATER_THAN_PROMISED], ["customer"])
    ).items()
    assert (ending.objects, ending.sent) == (2, 2)
    assert lies({cell: ending})


def test_the_page_has_every_cell_and_is_read_as_it_is_written() -> None:
    text = gen_matrix.PAGE.read_text()
    published = gen_matrix.read(text)
    assert {(cell.fault, cell.column) for cell in published} == {
        (fault, column) for fault in ROWS for column in COLUMNS
    }
    assert published[Cell(KEYED, KILL_AFTER, "refund")].startswith("1 done (sent ")
    assert published[Cell(AT_MOST_ONCE, KILL_AFTER, "mail")] == "1 in doubt"
    assert published[Cell(STRANGER_AS_SHIPPED, "500 after", "customer")].startswith("2 ")


@pytest.mark.parametrize(
    ("objects", "copies", "ended", "honest"),
    [
        (1, 1, "succeeded", True),
        (1, 1, "in_doubt", True),
        (0, 0, "in_doubt", True),
        (0, 0, "failed", True),
        (0, 0, "succeeded", False),
        (1, 1, "failed", False),
        (1, 1, "retries_exhausted", False),
        (0, 0, "bug", False),
        (2, 2, "in_doubt", False),
        (1, 2, "succeeded", False),
    ],
)
def test_what_is_honest(objects: int, copies: int, ended: str, honest: bool) -> None:
    cell = Cell(KEYED, "reset after", "customer")
    ending = Ending(objects, copies, ended, 1, found=False)
    assert is_honest(cell, ending) is honest


def test_two_copies_are_what_at_least_once_means() -> None:
    assert is_honest(
        Cell(AT_LEAST_ONCE, "reset after", "mail"), Ending(1, 2, "succeeded", 2, found=False)
    )
