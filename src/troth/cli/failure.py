"""How a command that cannot do its work ends: one line on standard error, and an exit code.

Exit codes: 0 it did its work, 1 it found a problem, 2 it was asked for something that cannot be.
"""

from __future__ import annotations

import os
import sys
import traceback

from troth.base.errors import Refused, TrothError, UsageError

PROBLEM = 1
USAGE = 2
DEBUG_VARIABLE = "TROTH_DEBUG"  # how --debug reaches the processes that a command starts


def fail(error: BaseException) -> int:
    """Say what went wrong; the exit code. Whatever is not foreseen is a defect, and is shown whole."""
    foreseen = _foreseen(error)
    if foreseen is None or os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    if foreseen is not None:
        print(f"troth: {foreseen}", file=sys.stderr)
    # A `TrothError` that is a `ValueError`, too, is about a value that the user has typed.
    asked_wrongly = isinstance(error, UsageError | ValueError) and foreseen is not None
    return USAGE if asked_wrongly else PROBLEM


def _foreseen(error: BaseException) -> str | None:
    """The line to show, or None."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _foreseen(error.exceptions[0])
    if isinstance(error, TrothError | Refused):
        return str(error)
    driver = sys.modules.get(
        "troth.store.failure"
    )  # not imported: nothing of the driver was raised
    if driver is None or not isinstance(error, driver.DatabaseError):
        return None
    advice = _ADVICE.get(getattr(error, "sqlstate", None))
    return None if advice is None else advice.format(" ".join(str(error).split()))


# By SQLSTATE (PostgreSQL documentation, appendix A); None: the server said nothing any more.
_NO_SCHEMA = "the schema is not there, or not up to date: {}. `troth db status` shows its state."
_ADVICE = {
    None: "the connection to the database was lost: {}",
    "3F000": _NO_SCHEMA,
    "42P01": _NO_SCHEMA,
    "42883": _NO_SCHEMA,
    "42501": "this database user may not do that: {}",
    "55P03": "somebody holds a lock that this needs, and waiting would hold up the workers: try again later. ({})",
    "57014": "the query took too long, and the database ended it. Narrow it (--since, --workflow, --state), or give it "
    "longer (--statement-timeout).",
}
