"""No row without a case: what the tables say was seen, by a real server and the real library."""

from __future__ import annotations

from tests.effect.clients import test_databases, test_http, test_http_other, test_mail
from troth.effect.client_tables import CLASSES, PLACES, ROWS

SHOWN = test_http.SHOWN | test_http_other.SHOWN | test_mail.SHOWN | test_databases.SHOWN


def test_every_row_was_seen() -> None:
    missing = (set(ROWS) | set(PLACES)) - SHOWN
    assert not missing, f"write a case that produces {sorted(missing)}"


def test_every_case_has_a_row() -> None:
    assert not SHOWN - set(ROWS) - set(PLACES)


def test_no_class_has_two_rows() -> None:
    assert len(ROWS) == sum(len(rows) for rows in CLASSES.values())
    assert not set(ROWS) & set(PLACES)


def test_every_row_says_why() -> None:
    assert all(row.because for row in (*ROWS.values(), *PLACES.values()))
