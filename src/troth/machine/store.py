"""The only place that knows the statements of machines: each function is a step of a plan, or reads for an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from troth.base import codec
from troth.machine.model import Entry, Standing
from troth.store.plan import Plan, Statement
from troth.store.queries import Queries, load
from troth.store.tx import Row

_LAST_SEQ = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What the function `machine_move` returned; its head says what an outcome means."""

    outcome: str
    seq: int
    from_state: str | None
    to_state: str
    path: tuple[str, ...]
    version: int | None
    at: datetime
    superseded: bool
    first_event: str | None
    first_observed: str | None


def queries(schema: str) -> Queries:
    """The statements of machines for one schema."""
    return load("troth.machine", schema)


def move(q: Queries, params: Mapping[str, Any]) -> Plan[Answer]:
    """Change one object."""
    rows = yield Statement(q.move, params)
    outcome, seq, from_state, to_state, path, *rest = rows[0]
    return Answer(outcome, seq, from_state, to_state, tuple(path or ()), *rest)


def look(q: Queries, machine: str, object_id: str, *, hold: bool) -> Plan[tuple[Standing, datetime] | None]:  # fmt: skip
    """Where an object stands, and the time; *hold* keeps others from changing it. None: there is no such object."""
    rows = yield Statement(q.hold if hold else q.look, (machine, object_id))
    return (_standing(rows[0]), rows[0][5]) if rows else None


def history(q: Queries, machine: str, object_id: str, before: int | None, limit: int) -> Plan[list[Entry]]:  # fmt: skip
    """The entries of an object before number *before*, the latest first."""
    last = _LAST_SEQ if before is None else before
    params = {"machine": machine, "id": object_id, "before": last, "limit": limit}
    rows = yield Statement(q.history, params)
    return [_entry(row) for row in rows]


def standing_in(q: Queries, machine: str, state: str, after: str, limit: int) -> Plan[list[Standing]]:  # fmt: skip
    """The objects in a state whose ids come after *after*, in the order of their ids."""
    params = {"machine": machine, "state": state, "after": after, "limit": limit}
    rows = yield Statement(q.standing_in, params)
    return [_standing(row) for row in rows]


def forget(q: Queries, machine: str, keep_s: float, limit: int) -> Plan[int]:
    """Forget entries that are older than *keep_s* seconds, at most *limit*; how many."""
    rows = yield Statement(q.forget, {"machine": machine, "keep_s": keep_s, "limit": limit})
    return int(rows[0][0])


def _standing(row: Row) -> Standing:
    return Standing(*row[:5])


def _entry(row: Row) -> Entry:
    seq, event, observed, from_state, to_state, path, superseded, version, cause, by, why, data, at = row  # fmt: skip
    return Entry(
        seq, event, observed, from_state, to_state, tuple(path or ()), superseded, version, cause, by, why,
        None if data is None else codec.decode(data.encode()), at,
    )  # fmt: skip
