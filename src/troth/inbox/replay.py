"""Putting events back: an operator's act, recorded with who decided it and why, in the transaction that it is given."""

from __future__ import annotations

from troth.inbox import rules, store
from troth.inbox.model import EventNotFoundError, ReplayError, State, Which
from troth.store.tx import Tx


async def replay(
    tx: Tx, schema: str, source: str, event_id: str, *, by: str, note: str | None
) -> State:
    """Let an event be tried anew, as if it had just come; the state in which it was.

    Raises `EventNotFoundError`, and `ReplayError` for one that has been applied or superseded, or is being tried anyway.
    """
    told = await store.show(tx, schema, event_id, source)
    object_key = told.facts["object"]
    await store.enqueue(
        tx, schema, source, object_key
    )  # first the object, then the event, as all do
    state, reason = await store.hold(tx, schema, source, event_id)
    if State.RECEIVED not in rules.BY_PEOPLE[state]:
        legal = ", ".join(sorted(s for s, next_ in rules.BY_PEOPLE.items() if next_))
        msg = (
            f"event {event_id} of {source} is {state}: only events that are {legal} can be put back"
        )
        raise ReplayError(msg)
    await store.put_back(tx, schema, (source, event_id), by, note, (state, reason))
    return state


async def find(tx: Tx, schema: str, event_id: str, source: str | None) -> str:
    """The source of an event. Raises `EventNotFoundError`, also if several have one with this id."""
    return str((await store.show(tx, schema, event_id, source)).facts["source"])


async def replay_all(
    tx: Tx, schema: str, state: State, which: Which, *, limit: int, by: str, note: str | None
) -> list[str]:
    """Put back up to *limit* events that are in a state, those that came last; their ids."""
    done = []
    found = await store.in_state(tx, schema, state, which, limit)
    for line in sorted(found, key=lambda line: (line["source"], line["object"])):
        try:
            await replay(tx, schema, line["source"], line["event"], by=by, note=note)
        except (EventNotFoundError, ReplayError):  # somebody else was faster
            continue
        done.append(str(line["event"]))
    return done
