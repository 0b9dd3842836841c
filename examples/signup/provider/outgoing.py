"""The rows of deliveries. Every function runs on the store's connection; writes inside `work`."""

from collections.abc import Collection
from dataclasses import dataclass

from examples.signup.provider.fates import Fate
from examples.signup.provider.store import Json, Store

COLUMNS = "seq, event, endpoint, copy, attempts"


@dataclass(frozen=True)
class Delivery:
    """One copy of an event on its way to one endpoint."""

    seq: int
    event: str
    endpoint: str
    copy: int
    attempts: int


def fresh(store: Store) -> list[Delivery]:
    """Those whose fate is not drawn yet, in the order of their events."""
    return rows(store, "state = 'new' ORDER BY seq")


def due(store: Store, now: float, but: Collection[int], most: int) -> list[Delivery]:
    """Those whose time has come, except some."""
    found = rows(store, "state = 'waiting' AND next_at <= ? ORDER BY next_at, seq", now)
    return [one for one in found if one.seq not in but][:most]


def next_time(store: Store, now: float) -> float | None:
    """When the next attempt is due, of those that are not due yet."""
    (at,) = store.db.execute(
        "SELECT min(next_at) FROM delivery WHERE state = 'waiting' AND next_at > ?", (now,)
    ).fetchone()
    return None if at is None else float(at)


def held(store: Store) -> list[Delivery]:
    return rows(store, "state = 'held' ORDER BY seq")


def rows(store: Store, where: str, *values: object) -> list[Delivery]:
    found = store.db.execute(f"SELECT {COLUMNS} FROM delivery WHERE {where}", values)
    return [Delivery(*row) for row in found]


def give_fate(store: Store, delivery: Delivery, fate: Fate, now: float, *, hold: bool) -> None:
    """Make the copies of a delivery, or mark it as dropped."""
    if not fate.delays:
        set_state(store, delivery.seq, "dropped")
        return
    state = "held" if hold else "waiting"
    for copy, delay in enumerate(fate.delays, 1):
        if copy == 1:
            set_state(store, delivery.seq, state, now + delay)
        else:
            store.db.execute(
                "INSERT INTO delivery (event, endpoint, copy, state, next_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (delivery.event, delivery.endpoint, copy, state, now + delay),
            )


def set_state(store: Store, seq: int, state: str, next_at: float = 0) -> None:
    store.db.execute(
        "UPDATE delivery SET state = ?, next_at = ? WHERE seq = ?", (state, next_at, seq)
    )


def answered(
    store: Store, delivery: Delivery, state: str, answer: int | None, next_at: float
) -> None:
    """Record an attempt; `answer` is the HTTP status, None if there was none."""
    store.db.execute(
        "UPDATE delivery SET state = ?, answer = ?, next_at = ?, attempts = attempts + 1"
        " WHERE seq = ?",
        (state, answer, next_at, delivery.seq),
    )
    if state == "delivered":
        count_pending(store, delivery.event)


def count_pending(store: Store, ident: str) -> None:
    """Keep the event's `pending_webhooks`: the endpoints that have not taken it yet."""
    (pending,) = store.db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE event = ? GROUP BY endpoint"
        " HAVING max(state = 'delivered') = 0)",
        (ident,),
    ).fetchone()
    found = store.get("event", ident)
    if found is not None and found[0]["pending_webhooks"] != pending:
        store.update({**found[0], "pending_webhooks": pending})


def summary(store: Store) -> Json:
    """For each event how often it was delivered, dropped and tried; and the totals of the states."""
    events: dict[str, Json] = {}
    total: dict[str, int] = dict.fromkeys(
        ("attempts", "delivered", "dropped", "failed", "held", "new", "skipped", "waiting"), 0
    )
    for event, kind, state, copies, attempts in store.db.execute(
        "SELECT d.event, t.value, d.state, count(*), sum(d.attempts) FROM delivery d"
        " JOIN object o ON o.id = d.event"
        " JOIN term t ON t.seq = o.seq AND t.type = 'event' AND t.field = 'type'"
        " GROUP BY d.event, t.value, d.state ORDER BY min(d.seq)"
    ):
        one = events.setdefault(event, {"type": kind, **dict.fromkeys(total, 0)})
        for counts in (one, total):
            counts[state] += copies
            counts["attempts"] += attempts
    return {"events": events, "total": total}
