"""What is raised when an object was not changed, and in which words. Pure: the answer of the database in, an error out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from troth.machine import rules
from troth.machine.model import (
    CauseConflictError,
    Declaration,
    EarlyEventError,
    GuardRefusedError,
    IllegalTransitionError,
    ObjectExistsError,
    UnknownObjectError,
)

if TYPE_CHECKING:
    from troth.machine.store import Answer


def unknown(found: Declaration, object_id: str) -> UnknownObjectError:
    """There is no such object."""
    return UnknownObjectError(
        f"{found.name} {object_id!r} does not exist: create it first, or let observe create it"
    )


def require_created(found: Declaration, params: Mapping[str, Any], answer: Answer) -> None:
    """Raise unless the object was created by this call, or by this cause before."""
    _require_same_cause(found, params, answer)
    if answer.outcome == "exists":
        msg = f"{found.name} {params['id']!r} exists already, made by another cause; it is {answer.from_state!r} now"
        raise ObjectExistsError(msg)


def require_fired(
    found: Declaration, params: Mapping[str, Any], answer: Answer, refused: str | None
) -> None:
    """Raise unless the event is recorded. *refused*: what its guard has said."""
    _require_same_cause(found, params, answer)
    if answer.outcome == "unknown":
        raise unknown(found, params["id"])
    if answer.outcome != "illegal":
        return
    state, event = str(answer.from_state), str(params["event"])
    me = f"{found.name} {params['id']!r} is {state!r}"
    facts = _facts(found, params, state, event)
    if refused is not None:
        error = GuardRefusedError(f"{me}, and {event!r} is not possible now: {refused}", **facts)
        error.reason = refused
        raise error
    if rules.is_early(found, state, event):
        msg = f"{me}, where {event!r} is not legal yet: something may be missing before it. {_offer(found, state)}"
        raise EarlyEventError(msg, **facts)
    raise IllegalTransitionError(f"{me}: {event!r} is not legal. {_offer(found, state)}", **facts)


def require_observed(found: Declaration, params: Mapping[str, Any], answer: Answer) -> None:
    """Raise unless the observation is recorded."""
    _require_same_cause(found, params, answer)
    if answer.outcome != "illegal":
        return
    state, observed = str(answer.from_state), str(params["observed"])
    msg = (
        f"{found.name} {params['id']!r} is {state!r}, from where there is no way to {observed!r}, which was observed. "
        f"{_offer(found, state)}"
    )
    raise IllegalTransitionError(msg, **_facts(found, params, state, observed))


def _require_same_cause(found: Declaration, params: Mapping[str, Any], answer: Answer) -> None:
    if answer.outcome != "conflict":
        return
    first = _words(answer.first_event, answer.first_observed)
    now = _words(params["event"], params["observed"])
    msg = (
        f"{found.name} {params['id']!r}: the cause {params['cause']!r} {first} (entry {answer.seq}), and {now} now. "
        "Give each thing that happens a cause of its own, like run:…/activate"
    )
    raise CauseConflictError(msg)


def _words(event: str | None, observed: str | None) -> str:
    if event is not None:
        return f"fired {event!r}"
    return "created it" if observed is None else f"observed {observed!r}"


def _offer(found: Declaration, state: str) -> str:
    legal = rules.legal_in(found, state)
    if legal:
        return f"Legal there: {', '.join(legal)}."
    if state not in found.states:
        return "The declaration does not have that state (any more)."
    return "Nothing is legal there: that state is final."


def _facts(
    found: Declaration, params: Mapping[str, Any], state: str, wanted: str
) -> dict[str, Any]:
    return {
        "machine": found.name,
        "object_id": params["id"],
        "state": state,
        "wanted": wanted,
        "legal": rules.legal_in(found, state),
    }
