"""Is a declaration sound, and what does it allow? Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping

from troth.base import codec
from troth.base.errors import PayloadError, UsageError
from troth.machine.model import Declaration, Guard, Transition

_NAME_CHARACTERS = 60
_ID_BYTES = 500  # with a cause and a machine's name less than a third of a page: the most that an index takes
_CAUSE_BYTES = 1000
_NOTE_BYTES = 4000
_DATA_BYTES = 16 * 1024
_BIGINT = range(-(2**63), 2**63)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # not behind a backslash that is a character itself

# Declarations ---------------------------------------------------------------------------------------------------------


def declare(
    name: str,
    initial: str,
    final: Iterable[str],
    transitions: Iterable[Transition],
    states: Iterable[str] | None,
) -> Declaration:
    """The declaration, with plain text for all names. Raises `UsageError` that names what is wrong with it."""
    named = f"machine {name!r}"
    name = _plain(name, "the name of a machine", named)
    initial = _plain(initial, "the initial state", named)
    ends = tuple(_plain(each, "a final state", named) for each in _many(final))
    moves: dict[str, dict[str, str]] = {initial: {}}
    guards: dict[tuple[str, str], Guard] = {}
    for each in transitions:
        event = _plain(each.event, "an event", named)
        to = _plain(each.to, f"where {event!r} leads", named)
        origins = [_plain(one, f"where {event!r} begins", named) for one in _many(each.from_)]
        if not origins:
            raise UsageError(f"{named}: {event!r} leads to {to!r} from nowhere: give from_ a state")
        for origin in origins:
            legal = moves.setdefault(origin, {})
            if event in legal:
                msg = f"{named}: {event!r} leads from {origin!r} twice, to {legal[event]!r} and to {to!r}"
                raise UsageError(msg)
            legal[event] = to
            if each.guard is not None:
                guards[origin, event] = each.guard
        moves.setdefault(to, {})
    declared = None if states is None else [_plain(one, "a state", named) for one in states]
    _check_states(named, moves, ends, declared)
    moves = {state: moves[state] for state in declared or moves}
    found = Declaration(name, initial, tuple(moves), frozenset(ends), moves, guards)
    _check_ways(named, found)
    return found


def _plain(name: str, what: str, where: str) -> str:
    if not isinstance(name, str):
        raise UsageError(f"{where}: {what} is text or a StrEnum, not {name!r}")
    text = str.__str__(name)  # of an enum, its value
    if not 0 < len(text) <= _NAME_CHARACTERS or not text.isprintable() or text != text.strip():
        msg = f"{where}: {what} has 1 to {_NAME_CHARACTERS} printable characters and no space around them, not {text!r}"
        raise UsageError(msg)
    return text


def _many(names: str | Iterable[str]) -> list[str]:
    """Without duplicates; sets in a fixed order, so that two processes draw and walk alike."""
    if isinstance(names, str):
        return [names]
    unique = dict.fromkeys(names)
    return sorted(unique) if isinstance(names, set | frozenset) else list(unique)


def _check_states(
    where: str, moves: Mapping[str, object], final: Collection[str], declared: list[str] | None
) -> None:
    known = moves.keys() if declared is None else dict.fromkeys(declared).keys()
    unknown = sorted({*moves, *final} - known)
    if unknown:
        msg = f"{where} has no state {_list(unknown)}; it has {_list(known)}"
        raise UsageError(msg)
    unused = [state for state in known if state not in moves]
    if unused:
        raise UsageError(f"{where}: no transition leads to {_list(unused)} or away from there")


def _check_ways(where: str, found: Declaration) -> None:
    for state in found.states:
        ways = found.moves[state]
        if state in found.final and ways:
            msg = f"{where}: {state!r} is final, and {_list(ways)} leads away from it"
            raise UsageError(msg)
        if state not in found.final and not ways:
            msg = (
                f"{where}: nothing leads away from {state!r}: add a transition, or add it to final"
            )
            raise UsageError(msg)
    lost = [state for state in found.states if state not in distances(found)]
    if lost:
        msg = f"{where}: there is no way from {found.initial!r} to {_list(lost)}"
        raise UsageError(msg)


# Ways -----------------------------------------------------------------------------------------------------------------


def ways_from(found: Declaration, state: str) -> dict[str, tuple[str, ...]]:
    """Every state that can be reached, with the events of a shortest way there; *state* itself by none.

    Of equally short ways it is the one whose events were declared first.
    """
    ways: dict[str, tuple[str, ...]] = {state: ()}
    waiting = deque([state])
    while waiting:
        here = waiting.popleft()
        for event, to in found.moves.get(here, {}).items():
            if to not in ways:
                ways[to] = (*ways[here], event)
                waiting.append(to)
    return ways


def distances(found: Declaration) -> dict[str, int]:
    """How many events each state is away from the initial one."""
    return {state: len(way) for state, way in ways_from(found, found.initial).items()}


def moves_by(found: Declaration, event: str) -> dict[str, str]:
    """From which states an event leads to which."""
    return {state: legal[event] for state, legal in found.moves.items() if event in legal}


def ways_to(found: Declaration, target: str) -> dict[str, tuple[str, ...]]:
    """The states from which *target* can be reached, with the events of a shortest way."""
    ways = {state: ways_from(found, state) for state in found.states}
    return {state: way[target] for state, way in ways.items() if target in way}


def legal_in(found: Declaration, state: str) -> tuple[str, ...]:
    """The events that lead on from a state; none from one that the declaration does not have (any more)."""
    return tuple(found.moves.get(state, {}))


def is_early(found: Declaration, state: str, event: str) -> bool:
    """Is there a way from *state* to one in which the event is legal?"""
    return any(event in found.moves.get(reached, {}) for reached in ways_from(found, state))


# Arguments ------------------------------------------------------------------------------------------------------------


def check_id(value: str, where: str) -> str:
    """The id of an object as plain text. Raises `UsageError` for one that cannot be stored."""
    return _text(value, f"{where}: the id of an object", _ID_BYTES)


def check_cause(value: str, where: str) -> str:
    """A cause as plain text. Raises `UsageError` for one that cannot be stored."""
    return _text(value, f"{where}: a cause", _CAUSE_BYTES)


def _text(value: str, what: str, most_bytes: int) -> str:
    try:
        size = len(value.encode())
    except (UnicodeEncodeError, AttributeError):
        size = 0
    if not 0 < size <= most_bytes or "\0" in value:
        msg = f"{what} is text of 1 to {most_bytes} bytes, without NUL and lone surrogates, not {value!r}"
        raise UsageError(msg)
    return str.__str__(value)


def check_note(value: str | None, what: str) -> str | None:
    """Who or why, as plain text. Raises `UsageError` for what cannot be stored."""
    return _text(value, what, _NOTE_BYTES) if value else None


def check_version(value: int | None, where: str) -> int | None:
    """Raises `UsageError` unless it is None or a number that a bigint holds."""
    if value is None or (type(value) is int and value in _BIGINT):
        return value
    msg = f"{where}: a version is an int that fits into 64 bits, not {value!r}"
    raise UsageError(msg)


def encode_data(value: object, where: str) -> str | None:
    """JSON text of what is kept with an entry. Raises `PayloadError` for what cannot be."""
    if value is None:
        return None
    encoded = codec.encode(value)
    if len(encoded) > _DATA_BYTES:
        msg = f"{where}: data is {len(encoded)} bytes of JSON, {_DATA_BYTES} at most: keep large things in your own table"
        raise PayloadError(msg)
    text = encoded.decode()
    if _NUL.search(text):
        raise PayloadError(f"{where}: data holds a NUL character, which PostgreSQL cannot keep")
    return text


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
