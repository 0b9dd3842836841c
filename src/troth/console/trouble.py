"""What goes wrong, as what a person reads: whose fault it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from troth.base.errors import KeyConflictError, RunEndedError, RunNotFoundError, TrothError
from troth.command.model import (
    ClaimedError,
    DisagreementError,
    NotAllowedError,
    NotInAttentionError,
)
from troth.console.model import (
    BusyError,
    ForgedError,
    NotSignedInError,
    OutOfReachError,
    TooLargeError,
    TooSlowError,
)
from troth.inbox.model import EventNotFoundError as NoEventError
from troth.inbox.model import ReplayError
from troth.ledger.model import AccountNotFoundError
from troth.machine.model import UnknownObjectError
from troth.outbox.model import EndpointNotFoundError
from troth.reconcile.model import BreakNotFoundError
from troth.schedule.model import ScheduleNotFoundError
from troth.store.errors import DatabaseUnavailable, SchemaError
from troth.view.decisions import DecisionNotFoundError
from troth.view.inbox import EventNotFoundError
from troth.view.outbox import MessageNotFoundError, NoEndpointError
from troth.view.requests import RequestNotFoundError

if TYPE_CHECKING:
    from troth.console.site import Site


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem: the status of the answer, a heading, what happened, what to do."""

    status: int
    title: str
    said: str
    advice: str = ""


def trouble_of(error: TrothError, site: Site, narrow: str = "") -> Trouble:  # noqa: PLR0911  (one for each kind)
    """How an error is told."""
    match error:
        case TooSlowError():
            said = f"This question took longer than {error.limit_s:g} s, so the database ended it."
            return Trouble(
                503, "That took too long", said, f"Narrow it: {narrow}." if narrow else ""
            )
        case OutOfReachError() | DatabaseUnavailable():
            return Trouble(
                503,
                "The database cannot be reached",
                f"{site.reach.place}: {error}",
                "Workers go on by themselves when it is back. This page looks again by itself if it is live.",
            )
        case SchemaError():
            return Trouble(
                503,
                "The schema does not fit this console",
                str(error),
                "troth db status shows its state.",
            )
        case NotSignedInError():
            return Trouble(401, "Sign in first", sentence(error))
        case NotAllowedError():
            return Trouble(403, "You may not do that", sentence(error), "The refusal is recorded.")
        case ForgedError():
            return Trouble(403, "This was not sent from here", sentence(error))
        case TooLargeError():
            return Trouble(413, "That is too much", sentence(error))
    status, title = next(
        (told for kind, told in _BY_KIND.items() if isinstance(error, kind)),
        (422, "That cannot be done"),
    )
    return Trouble(status, title, sentence(error))


_BY_KIND: dict[type[TrothError] | tuple[type[TrothError], ...], tuple[int, str]] = {
    RunNotFoundError: (404, "There is no such run"),
    ScheduleNotFoundError: (404, "There is no such schedule"),
    BreakNotFoundError: (404, "There is no such break"),
    DecisionNotFoundError: (404, "There is no such decision"),
    (NotInAttentionError, RunEndedError): (409, "It has moved on"),
    (DisagreementError, ClaimedError): (409, "Somebody else was here"),
    (
        EndpointNotFoundError,
        EventNotFoundError,
        MessageNotFoundError,
        NoEndpointError,
        NoEventError,
        RequestNotFoundError,
        UnknownObjectError,
        AccountNotFoundError,
    ): (404, "There is nothing like that"),
    ReplayError: (409, "It has moved on"),
    BusyError: (409, "It is in somebody's hands"),
    KeyConflictError: (409, "This key was used before"),
}


def sentence(error: TrothError) -> str:
    """What an error says, as a sentence."""
    said = str(error).strip()
    return said[:1].upper() + said[1:] + ("" if said.endswith((".", "!", "?")) else ".")
