"""How a break goes on when it is found again, and which window a run has. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from troth.base.errors import UsageError
from troth.reconcile.model import BreakState, Finding, Kind, Window

FURTHEST: Final = timedelta(
    days=400
)  # a run goes back no further for the sake of a break that stands
MOST_ACCEPTED: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a break before a run finds it again."""

    id: int
    subject: str
    kind: Kind
    state: BreakState
    minor: int
    currency: str


def again(known: Known | None, finding: Finding) -> tuple[BreakState, str | None]:
    """How a break stands after it was found, and what is to be told of it; None: nothing new.

    What explained a difference explains no other one: an acceptance or a correction ends when the kind or the money change.
    """
    if known is None:
        return BreakState.OPEN, "found"
    if known.state is BreakState.RESOLVED:
        return BreakState.OPEN, "reopened"
    same = (known.kind, known.minor, known.currency) == (
        finding.kind,
        finding.minor,
        finding.currency,
    )
    if same:
        return known.state, None
    if known.state is BreakState.OPEN:
        return BreakState.OPEN, "became"
    return BreakState.OPEN, "reopened"


def window_of(
    now: datetime,
    closed: datetime | None,
    oldest: datetime | None,
    lookback: timedelta,
    margin: timedelta,
) -> Window | None:
    """What a run is about that nobody has given a window: from *lookback* ago, or from the *oldest* break that stands.

    A *closed* period is not looked at again. None: there is nothing since that.
    """
    since = now - lookback
    if oldest is not None:
        since = min(since, max(oldest, now - FURTHEST))
    if closed is not None:
        since = max(since, closed)
    return Window(since, now, margin) if since < now else None


def require_window(since: datetime, until: datetime, now: datetime) -> None:
    """Raise `UsageError` for a window that nothing can be said about."""
    for given in (since, until):
        _require_zone("a window's times are datetimes with their zones", given)
    if not since < until <= now:
        msg = f"a window begins before it ends, and ends by now: not {since:%F %T} to {until:%F %T}"
        raise UsageError(msg)


def require_acceptance(state: BreakState, until: datetime, now: datetime, note: str | None) -> None:
    """Raise `UsageError` unless a break in *state* may be accepted until then, for that reason."""
    if state is BreakState.RESOLVED:
        raise UsageError("the break is resolved: there is nothing to accept")
    if not (note or "").strip():
        raise UsageError("say why it is accepted (--note): whoever closes the period reads it")
    _require_zone("a break is accepted until a datetime with its zone", until)
    if not now < until <= now + MOST_ACCEPTED:
        msg = f"a break is accepted until some day, at most {MOST_ACCEPTED.days} days from now: not {until:%F %T}"
        raise UsageError(msg)


def _require_zone(wanted: str, given: object) -> None:
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise UsageError(f"{wanted}, not {given!r}")
