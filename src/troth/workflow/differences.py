"""What the code of a workflow does other than what the journal says: told so that a person can act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from troth.base import codec
from troth.journal.model import Entry
from troth.workflow.calls import PendingCall

if TYPE_CHECKING:
    from troth.workflow.run import ActiveRun


def difference(run: ActiveRun, entry: Entry, call: PendingCall | None) -> dict[str, Any]:
    """The readable difference between the journal and what the code did."""
    if call is not None:
        message = (
            f"{entry.path} was recorded with other arguments than the code passes now. Finish such runs with the "
            "old code, or bring it back and resume."
        )
    else:
        message = (
            f"the journal goes on with {entry.path}, which the code did not call. Finish such runs with the old "
            "code, or bring it back and resume."
        )
    return {
        "message": message,
        "recorded": [e.path for e in run.past.order],
        "called": sorted(run.calls),
        "arguments_now": codec.decode(call.encoded) if call is not None else None,
    }
