"""What becomes of an event, which handler is meant, and where a sweep begins: pure functions over data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

from troth.base.backoff import Retry
from troth.inbox.model import Claimed, Handler, State, Verdict

# From each state, the states that an event may be in next, and who moves it there. To stay received is to have failed.
BY_WORKERS: Final[Mapping[State, frozenset[State]]] = {
    State.RECEIVED: frozenset(State),
    State.PARKED: frozenset(State),
    State.APPLIED: frozenset(),
    State.SUPERSEDED: frozenset(),
    State.IGNORED: frozenset(),
    State.QUARANTINED: frozenset(),
}
BY_PEOPLE: Final[Mapping[State, frozenset[State]]] = {
    State.RECEIVED: frozenset(),
    State.PARKED: frozenset({State.RECEIVED}),
    State.APPLIED: frozenset(),
    State.SUPERSEDED: frozenset(),
    State.IGNORED: frozenset({State.RECEIVED}),
    State.QUARANTINED: frozenset({State.RECEIVED}),
}
OPEN: Final = frozenset({State.RECEIVED, State.PARKED, State.QUARANTINED})

REASON_LIMIT: Final = 8000  # characters of a traceback: its end says most
TRAIL_LIMIT: Final = 100  # cursors

Trail: TypeAlias = tuple[tuple[float, str], ...]  # (seconds since 1970, cursor), the oldest first


def handler_of(handlers: Mapping[str, Handler], kind: str) -> Handler | None:
    """The handler of a type: the one that names it, else the one with the longest pattern that fits."""
    if kind in handlers:
        return handlers[kind]
    fitting = [pattern for pattern in handlers if "*" in pattern and fnmatchcase(kind, pattern)]
    return handlers[max(fitting, key=len)] if fitting else None


def applied(claimed: Claimed, blocks: bool) -> Verdict:
    """The handler's work is in the transaction."""
    return Verdict(State.APPLIED, None, 0.0, claimed.failures, claimed.parks, blocks)


def superseded(claimed: Claimed, reason: str) -> Verdict:
    """Something newer had been applied before."""
    return Verdict(State.SUPERSEDED, cut(reason), 0.0, claimed.failures, claimed.parks)


def ignored(claimed: Claimed) -> Verdict:
    """Nobody handles this type."""
    reason = f"no handler for {claimed.event.type}"
    return Verdict(State.IGNORED, reason, 0.0, claimed.failures, claimed.parks)


def came_early(claimed: Claimed, reason: str, parking: Retry, limit_s: float) -> Verdict:
    """The handler says that something must come first. It never blocks what is later: that is what it waits for."""
    parks = claimed.parks + 1
    parked_s = claimed.parked_s or 0.0
    if parked_s >= limit_s:
        why = cut(f"parked for {parked_s / 86400:.1f} days, and still too early: {reason}")
        return Verdict(State.QUARANTINED, why, 0.0, claimed.failures, parks, blocks=False)
    wait_s = min(parking.pause_s(parks), limit_s - parked_s)
    return Verdict(State.PARKED, cut(reason), wait_s, claimed.failures, parks, blocks=False)


def failed(claimed: Claimed, traceback: str, retry: Retry, blocks: bool) -> Verdict:
    """The handler raised something that nobody foresaw."""
    failures = claimed.failures + 1
    wait_s = retry.wait_s(failures)
    state = State.QUARANTINED if wait_s is None else State.RECEIVED
    return Verdict(state, cut(traceback), wait_s or 0.0, failures, claimed.parks, blocks)


def cut(text: str) -> str:
    """A text that can be stored: its end, without what PostgreSQL's text cannot hold."""
    return text[-REASON_LIMIT:].replace("\0", "\ufffd").encode(errors="replace").decode()


def begin_at(trail: Trail, now_s: float, overlap_s: float) -> str | None:
    """The cursor to read on from: the last one whose events were all older than the overlap. None: the beginning."""
    old = [cursor for at, cursor in trail if at <= now_s - overlap_s]
    return old[-1] if old else None


def extend(
    trail: Trail, cursor: str | None, created_s: Sequence[float], now_s: float, overlap_s: float
) -> Trail:
    """The trail after a page: *cursor* stands behind events that were made at *created_s*."""
    if cursor is None or not created_s:
        return trail
    at = min(max(created_s), now_s)  # a clock that is ahead must not hide the next events
    longer = [(t, c) for t, c in trail if c != cursor]
    at = max([at, *(t for t, _ in longer)])
    longer.append((at, cursor))
    behind = [place for place in longer if place[0] <= now_s - overlap_s]
    within = [place for place in longer if place[0] > now_s - overlap_s]
    kept = behind[-1:] + _thinned(within)
    return tuple(kept)


def _thinned(places: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Not too many: to begin earlier than necessary costs a page and misses nothing. The last one stays."""
    while len(places) > TRAIL_LIMIT:
        places = places[:-1:2] + places[-1:]
    return places
