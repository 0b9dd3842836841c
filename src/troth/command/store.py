"""The only place that runs the statements of acts. Every function takes the transaction that the act is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from uuid import UUID

from troth.base import codec
from troth.base.errors import RunEndedError, RunNotFoundError
from troth.command.model import NotInAttentionError, Standing
from troth.journal.model import Entry, Reason, RunState
from troth.store.queries import Queries, load
from troth.store.tx import Tx


def queries(schema: str) -> Queries:
    """The statements of acts for one schema."""
    return load("troth.command", schema)


async def hold(tx: Tx, schema: str, run_id: UUID) -> Standing:
    """Lock the row of a run in attention, and say how it stands.

    Raises `NotInAttentionError`, `RunEndedError`, `RunNotFoundError`.
    """
    row = await (await tx.execute(queries(schema).lock_run, (run_id,))).fetchone()
    return await _standing(tx, schema, run_id, row)


async def look(tx: Tx, schema: str, run_id: UUID) -> Standing:
    """As `hold`, without the lock: to read only."""
    row = await (await tx.execute(queries(schema).look_at_run, (run_id,))).fetchone()
    return await _standing(tx, schema, run_id, row)


async def _standing(tx: Tx, schema: str, run_id: UUID, row: tuple[Any, ...] | None) -> Standing:
    if row is None:
        await raise_not_alive(tx, schema, run_id)
    state, reason, detail, now_s = row
    if state != RunState.ATTENTION:
        msg = f"run {run_id} does not wait for a person: it is {state} now"
        raise NotInAttentionError(msg)
    return Standing(Reason(reason), codec.decode(detail or b"{}"), now_s)


async def give_up_early(tx: Tx, schema: str) -> None:
    """Wait for a lock for two seconds at most, in this transaction: whoever waits makes everybody wait who comes after."""
    await tx.execute(queries(schema).give_up_early)


async def entries(tx: Tx, q: Queries, run_id: UUID, path: str | None = None) -> list[Entry]:
    """The journal of a run, or what it has of one path."""
    rows = await (await tx.execute(q.entries, {"run": run_id, "path": path})).fetchall()
    return [Entry(*row) for row in rows]


async def decide(tx: Tx, q: Queries, run_id: UUID, path: str, record: Mapping[str, Any]) -> int:
    """Record what a person decided about a path; the number of the decision among those about that path."""
    params = {"run": run_id, "path": path, "payload": codec.encode(record)}
    row = await (await tx.execute(q.decide, params)).fetchone()
    assert row is not None
    return int(row[0])


async def answer(tx: Tx, q: Queries, run_id: UUID, path: str, value: bytes) -> None:
    """Record the result of an effect, as the next thing that the workflow is told."""
    await tx.execute(q.answer, {"run": run_id, "path": path, "payload": value})


async def copy(tx: Tx, q: Queries, run_id: UUID, entries: Sequence[Entry]) -> None:
    """Write entries of another run into the journal of this one, which nobody has claimed yet."""
    await tx.execute(q.has_past, (run_id,))
    if entries:
        _, *columns = zip(*entries, strict=True)
        await tx.execute(q.copy, [run_id, *map(list, columns)])


async def wake(tx: Tx, q: Queries, run_id: UUID) -> None:
    """Let any worker claim the run."""
    await tx.execute(q.wake, (run_id,))
    await tx.execute(q.ring)


async def raise_not_alive(tx: Tx, schema: str, run_id: UUID) -> NoReturn:
    """Raise `RunEndedError` or `RunNotFoundError`."""
    row = await (await tx.execute(queries(schema).ended_state, (run_id,))).fetchone()
    if row is None:
        msg = f"there is no run {run_id} in the schema {schema}"
        raise RunNotFoundError(msg)
    msg = f"run {run_id} has ended: it is {row[0]}"
    raise RunEndedError(msg)
