"""The only place that runs the journal's statements. Every function takes the connection to run them on."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.journal.model import (
    Batch,
    ClaimedRun,
    End,
    EndedRun,
    Entry,
    Left,
    Message,
    Place,
    Reply,
    RunState,
    Send,
    Standing,
    Start,
    Started,
)
from troth.store.arrays import bools, byteas, float8s, int2s, int4s, texts, uuids
from troth.store.queries import Queries, load
from troth.store.tx import BlockingTx, Tx


def queries(schema: str) -> Queries:
    """The journal's statements for one schema."""
    return load("troth.journal", schema)


async def register(
    tx: Tx,
    q: Queries,
    name: str,
    *,
    executes: bool,
    lease_s: float,
    workflows: Iterable[str] = (),
) -> int:
    """A new worker id. *workflows*: what it can execute, for people who ask."""
    return int(await _value(tx, q.register, (name, executes, lease_s, list(workflows))))


async def resign(tx: Tx, q: Queries, worker: int) -> None:
    """Leave: the row and its marks go."""
    await tx.execute(q.resign, {"worker": worker})


def beat(tx: BlockingTx, q: Queries, worker: int, n: int) -> dict[str, Any]:
    """One heartbeat of a worker whose flush *n* was acknowledged; what it carries home is listed at `beat` in the migration."""
    row = tx.execute(q.beat, (worker, n)).fetchone()
    assert row is not None
    answer: dict[str, Any] = codec.decode(row[0].encode())
    return answer


async def takeover(tx: Tx, q: Queries, peer: int, beat: int) -> int | None:
    """Take over from *peer* if it has not beaten since *beat*; the number of its runs that are still locked."""
    held: int | None = await _value(tx, q.takeover, (peer, beat))
    return held


async def release_gone(tx: Tx, q: Queries, peer: int) -> int:
    """Go on releasing the runs of a dead worker; the number that are still locked."""
    return int(await _value(tx, q.release_gone, (peer,)))


async def flush(tx: Tx, q: Queries, worker: int, n: int, batch: Batch) -> Reply:
    """Commit a batch as flush *n* of *worker*, or learn what it answered when it was committed before."""
    text = await _value(tx, q.flush, (worker, n, *_columns(batch)))
    return _reply(codec.decode(text.encode()))


async def stored_reply(tx: Tx, q: Queries, worker: int, n: int) -> Reply | None:
    """What flush *n* of a worker that is dead now answered, or None if it did not commit."""
    row = await (await tx.execute(q.stored_reply, (worker, n))).fetchone()
    return _reply(codec.decode(row[0].encode())) if row else None


async def claimed_runs(tx: Tx, q: Queries, worker: int, ids: Sequence[UUID]) -> list[ClaimedRun]:
    """The runs that *worker* has claimed, with their journals."""
    runs = await (await tx.execute(q.claimed_runs, (list(ids), worker))).fetchall()
    again = [row[0] for row in runs if row[4] > 1]
    journals: dict[UUID, list[Entry]] = {}
    if again:
        for row in await (await tx.execute(q.entries, (again,))).fetchall():
            journals.setdefault(row[0], []).append(Entry(*row))
    mail: dict[UUID, list[Message]] = {}
    if any(has_mail for *_, has_mail in runs):
        for row in await (await tx.execute(q.mail, ([row[0] for row in runs],))).fetchall():
            mail.setdefault(row[0], []).append(Message(*row[1:]))
    return [
        ClaimedRun._make((*row[:6], journals.get(row[0], []), mail.get(row[0], []), *row[6:11]))
        for row in runs
    ]


async def ended_runs(tx: Tx, q: Queries, ids: Sequence[UUID]) -> list[EndedRun]:
    """Those of *ids* that have ended."""
    rows = await (await tx.execute(q.ended_runs, (list(ids),))).fetchall()
    return [EndedRun(row[0], row[1], RunState(row[2]), row[3], row[4]) for row in rows]


async def watched_runs(tx: Tx, q: Queries, ids: Sequence[UUID]) -> list[Standing]:
    """Where these runs stand; those that do not exist are left out."""
    rows = await (await tx.execute(q.watched_runs, {"ids": list(ids)})).fetchall()
    return [Standing(row[0], RunState(row[1]), *row[2:]) for row in rows]


async def known_runs(tx: Tx, q: Queries, ids: Sequence[UUID]) -> set[UUID]:
    """Those of *ids* that are runs, alive or ended."""
    rows = await (await tx.execute(q.known_runs, {"ids": list(ids)})).fetchall()
    return {row[0] for row in rows}


async def write_minutes(
    tx: Tx, q: Queries, worker: int, minutes: Sequence[tuple[float, str, *tuple[int, ...]]]
) -> None:
    """What *worker* has done in minutes that are over: the columns of `worker_minute`. Written again, it is the same."""
    columns = [list(column) for column in zip(*minutes, strict=True)]
    await tx.execute(q.write_minutes, (worker, *columns))


async def run_input(tx: Tx, q: Queries, run_id: UUID) -> tuple[str, bytes] | None:
    """Workflow and input of a run."""
    row = await (await tx.execute(q.run_input, {"id": run_id})).fetchone()
    return (row[0], row[1]) if row else None


async def run_state(tx: Tx, q: Queries, run_id: UUID) -> tuple[str, str | None] | None:
    """State and attention reason of a run that is alive."""
    row = await (await tx.execute(q.run_state, (run_id,))).fetchone()
    return (row[0], row[1]) if row else None


async def run_of_key(tx: Tx, q: Queries, key: str) -> UUID | None:
    """The run that owns a start key."""
    row = await (await tx.execute(q.run_of_key, (key,))).fetchone()
    return row[0] if row else None


async def ensure_partitions(tx: Tx, q: Queries, since_s: float, until_s: float) -> int:
    """Make missing weekly partitions; how many were made."""
    return int(await _value(tx, q.ensure_partitions, (since_s, until_s)))


async def start_run(
    tx: Tx,
    q: Queries,
    run_id: UUID,
    workflow: str,
    key: str | None,
    payload: bytes,
    digest: bytes,
    starts_at: float,
    place: Place | None = None,
    deadline: float | None = None,
) -> Started:
    """Start a run inside the caller's transaction."""
    params = (
        run_id, workflow, key, payload, digest, starts_at, *(place or (None, None, None)), deadline,
    )  # fmt: skip
    row = await (await tx.execute(q.start_run, params)).fetchone()
    assert row is not None
    return Started(*row)


async def send_message(tx: Tx, q: Queries, send: Send) -> str:
    """Leave a message inside the caller's transaction: 'sent', 'ended', 'missing' or 'conflict'."""
    said = str(await _value(tx, q.send_message, send[:-1]))
    if send.trace is not None and said == "sent":
        await tx.execute(q.trace_message, (send.trace, send.id))
    return said


async def trace_run(tx: Tx, q: Queries, run_id: UUID, trace: str) -> None:
    """Say in which context a run was started, in the transaction that has started it."""
    await tx.execute(q.trace_runs, ([run_id], [trace]))


async def adopt(
    tx: Tx, q: Queries, queue: str, waited_s: float, queues: Mapping[str, str | None]
) -> int:
    """Move runs that have stood in *queue* for that long into the *queues* of their workflows; how many."""
    return int(await _value(tx, q.adopt, (queue, waited_s, list(queues), list(queues.values()))))


async def identity(tx: Tx, q: Queries) -> str:
    """What two connections have in common if and only if they reach the same schema of the same database."""
    return str(await _value(tx, q.identity, ()))


async def _value(tx: Tx, query: Any, params: Sequence[Any]) -> Any:
    row = await (await tx.execute(query, params)).fetchone()
    assert row is not None
    return row[0]


def _columns(batch: Batch) -> list[Any]:
    """The arrays of `flush`, in the order of its parameters. A group without rows is NULL, and costs nothing."""
    return [
        *_sends(batch.sends),
        *_starts(batch.starts),
        *_encoded(batch.awaits, (uuids, uuids, texts)),
        *_encoded(
            batch.entries,
            (uuids, texts, int2s, int2s, int4s, bools, byteas, byteas, float8s),
        ),
        uuids([message_id for _, message_id in batch.heard]) if batch.heard else None,
        *_encoded(
            [(run, float(at), said) for run, (at, said) in batch.progress.items()],
            (uuids, float8s, byteas),
        ),
        uuids(batch.undoing) if batch.undoing else None,
        *_ends(batch.ends),
        *_encoded(batch.continuations, (uuids, uuids, byteas, float8s, bools, float8s)),
        *_encoded(batch.releases, (uuids, texts, float8s, texts, byteas, texts)),
        uuids(batch.looks) if batch.looks else None,
        batch.claim,
        batch.workflows or None,
        *_encoded(batch.lines, (texts, int4s, int4s, texts)),
    ]


def _sends(sends: Sequence[Send]) -> Iterable[Any]:
    if not sends:
        return (None,) * 7
    *columns, traces = zip(*sends, strict=True)
    encoders: tuple[Any, ...] = (uuids, uuids, texts, texts, byteas, texts)
    encoded = [encode(column) for encode, column in zip(encoders, columns, strict=True)]
    return [*encoded, texts(traces) if any(traces) else None]


def _starts(starts: Sequence[Start]) -> Iterable[Any]:
    if not starts:
        return (None,) * 14
    *columns, places, parents, paths, deadlines, traces = zip(*starts, strict=True)
    encoders: tuple[Any, ...] = (uuids, texts, texts, byteas, byteas, float8s, bools)
    encoded = [encode(column) for encode, column in zip(encoders, columns, strict=True)]
    queued = [place or (None, None, None) for place in places] if any(places) else ()
    return [
        *encoded,
        *_encoded(queued, (texts, texts, int4s)),
        uuids(parents) if any(parents) else None,
        texts(paths) if any(paths) else None,
        float8s(deadlines) if any(deadlines) else None,
        texts(traces) if any(traces) else None,
    ]


def _ends(ends: Sequence[End]) -> Iterable[Any]:
    if not ends:
        return (None,) * 5
    *columns, owing = zip(*ends, strict=True)
    encoders: tuple[Any, ...] = (uuids, texts, byteas, bools)
    encoded = [encode(column) for encode, column in zip(encoders, columns, strict=True)]
    return [*encoded, bools(owing) if any(owing) else None]


def _encoded(rows: Sequence[Any], encoders: Sequence[Any]) -> Iterable[Any]:
    if not rows:
        return (None,) * len(encoders)
    columns = zip(*rows, strict=True)
    return [encode(column) for encode, column in zip(encoders, columns, strict=True)]


def _reply(answer: dict[str, Any]) -> Reply:
    if not answer:
        return EMPTY_REPLY
    mail: dict[UUID, list[Message]] = {}
    for run, message, topic, payload, trace in answer.get("mail", ()):
        mail.setdefault(UUID(run), []).append(
            Message(UUID(message), topic, base64.b64decode(payload), trace)
        )
    return Reply(
        sent={UUID(message): status for message, status in answer.get("sent", ())},
        busy_keys=frozenset(answer.get("busy_keys", ())),
        known={UUID(new): (UUID(run), same) for new, run, same in answer.get("known", ())},
        cancelled=frozenset(map(UUID, answer.get("cancelled", ()))),
        busy_runs=frozenset(map(UUID, answer.get("busy_runs", ()))),
        kept=frozenset(map(UUID, answer.get("kept", ()))),
        mail=mail,
        claimed=list(map(UUID, answer.get("claimed", ()))),
        more=answer.get("more", False),
        lines={
            queue: (after, Left(left) if left else None)
            for queue, after, left in answer.get("lines", ())
        },
        busy_undoing=frozenset(map(UUID, answer.get("busy_undoing", ()))),
        busy_waits=frozenset((UUID(run), path) for run, path in answer.get("busy_waits", ())),
    )


EMPTY_REPLY = Reply(
    {}, frozenset(), {}, frozenset(), frozenset(), frozenset(), {}, [], False, {}, frozenset()
)
