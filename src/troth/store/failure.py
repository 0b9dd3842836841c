"""What a database error means for the statement that met it: did it commit, may it be sent again?

A closed set of names, decided from the SQLSTATE (PostgreSQL documentation, appendix A) in one place.
"""

from __future__ import annotations

from enum import Enum

import psycopg

from troth.store.errors import DatabaseUnavailable

DatabaseError = psycopg.Error


class Failure(Enum):
    """The kinds of failure that the callers tell apart."""

    LOST = "the connection is gone: whether a commit took effect is not known"
    FENCED = "this worker was declared dead"
    HISTORY_LOST = "an acknowledged commit is missing"
    CONFLICT = "it lost to a concurrent transaction and did not take effect: run it again"
    AGAIN = "it did not take effect, and the same statement may succeed now"
    TOO_LARGE = "it needs more locks than the server has room for: send it in parts"
    NO_PARTITION = "a row has no partition to go to"
    DUPLICATE = "a row with this key exists"
    DATA = "it did not take effect, and the same statement can never succeed"


_BY_STATE = {
    "TR001": Failure.FENCED,
    "TR002": Failure.HISTORY_LOST,
    "40001": Failure.CONFLICT,  # serialization failure
    "40P01": Failure.CONFLICT,  # deadlock
    "55P03": Failure.AGAIN,  # lock not available
    "57014": Failure.AGAIN,  # cancelled, or statement timeout
    "53200": Failure.TOO_LARGE,
    "25006": Failure.LOST,  # read only: the primary has moved
    "23514": Failure.NO_PARTITION,
    "23505": Failure.DUPLICATE,
}
_BY_CLASS = {
    "08": Failure.LOST,  # connection exception
    "57": Failure.LOST,  # operator intervention: shutdown, crash, cannot connect now
    "53": Failure.AGAIN,  # insufficient resources
    "55": Failure.AGAIN,
}


def failure_of(error: BaseException) -> Failure:
    """Classify an exception that came out of psycopg (or a time limit on it)."""
    if isinstance(error, TimeoutError | OSError | DatabaseUnavailable):
        return Failure.LOST
    state = getattr(error, "sqlstate", None)
    if state is None:
        return Failure.LOST if isinstance(error, psycopg.OperationalError) else Failure.DATA
    return _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or Failure.DATA
