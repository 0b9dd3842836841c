"""What a program asks of troth: starts and messages, on their way into the journal.

A request waits here until the flush that carries it has returned. When the worker id that sent it is declared dead, the
request is settled under the next one: the mark of the last flush tells whether that was committed and what it answered,
and what was not done is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from troth.base import events, ids
from troth.base.clock import Clock
from troth.base.errors import (
    ForeignTransactionError,
    RunEndedError,
    RunNotFoundError,
)
from troth.base.telemetry import SILENT, Telemetry
from troth.journal import store
from troth.journal.model import Batch, Place, Reply, Send, Start
from troth.journal.starts import FOREIGN, deadline_of, require_same_start, start_digest
from troth.journal.writer import Writer
from troth.store.connect import AsyncPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.queries import Queries
from troth.store.tx import Tx
from troth.worker.claims import Claims
from troth.workflow.definition import Workflow
from troth.workflow.sending import raise_if_not_sent
from troth.workflow.topics import MessageConflictError

log = logging.getLogger("troth.worker")

_BUSY_AGAIN_S = 0.01
_RETRY_S = 0.2


class Requests:
    """The starts and messages of one node."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        pool: AsyncPool,
        q: Queries,
        cell: int,
        claims: Claims,
        *,
        started: Callable[[Start, Workflow[Any, Any]], None],
        telemetry: Telemetry = SILENT,
    ) -> None:
        """*started(start, workflow)* is called when a run is durable."""
        self._writer = writer
        self._clock = clock
        self._pool = pool
        self._q = q
        self._cell = cell
        self._claims = claims
        self._on_started = started
        self._telemetry = telemetry
        self._starts: dict[UUID, _Starting] = {}
        self._sends: dict[UUID, tuple[Send, asyncio.Future[None]]] = {}
        self._identity: str | None = None
        self._loop = asyncio.get_running_loop()

    # Asking -----------------------------------------------------------------------------------------------------------

    async def start(
        self,
        workflow: Workflow[Any, Any],
        payload: bytes,
        key: str | None,
        at: float | None,
        place: Place | None,
        deadline: float | None = None,
        within_s: float | None = None,
    ) -> UUID:
        """Start a run; its id, or that of the run that has the key. Raises `KeyConflictError`."""
        now = round(self._clock.now(), 6)
        run_id = ids.new_id(self._cell)
        start = Start(
            id=run_id,
            workflow=workflow.name,
            key=key,
            input=payload,
            digest=start_digest(workflow.name, payload),
            starts_at=now if at is None else round(at, 6),
            claim=(at is None or at <= now) and self._claims.reserve(workflow),
            place=place,
            deadline=deadline_of(now if at is None else at, deadline, within_s),
            trace=self._telemetry.starting(run_id, workflow.name),
        )
        future: asyncio.Future[tuple[UUID, bool]] = self._loop.create_future()
        self._starts[start.id] = (start, workflow, future)
        self._writer.touch().starts.append(start)
        run_id, same = await future
        if not same and key is not None:
            async with self._pool.connection() as connection:
                found = await store.run_input(connection, self._q, run_id)
            require_same_start(key, run_id, found, workflow.name, payload)
        return run_id

    async def start_in(
        self,
        tx: Tx,
        workflow: Workflow[Any, Any],
        payload: bytes,
        key: str | None,
        at: float | None,
        place: Place | None,
        deadline: float | None = None,
        within_s: float | None = None,
    ) -> UUID:
        """Start a run inside the caller's transaction. Raises `KeyConflictError` and `ForeignTransactionError`."""
        await self._require_own(tx)
        run_id = ids.new_id(self._cell)
        digest = start_digest(workflow.name, payload)
        starts_at = round(self._clock.now() if at is None else at, 6)
        trace = self._telemetry.starting(run_id, workflow.name)
        try:
            started = await store.start_run(
                tx, self._q, run_id, workflow.name, key, payload, digest, starts_at, place,
                deadline_of(starts_at, deadline, within_s),
            )  # fmt: skip
            if trace is not None and started.fresh:
                await store.trace_run(tx, self._q, run_id, trace)
        except BaseException:
            self._telemetry.not_started(run_id)
            raise
        self._telemetry.started(run_id, started.run_id, workflow.name, key, "transaction", trace)
        if not started.same and key is not None:
            found = await store.run_input(tx, self._q, started.run_id)
            require_same_start(key, started.run_id, found, workflow.name, payload)
        return started.run_id

    async def send(
        self,
        run_id: UUID | None,
        key: str | None,
        topic: str,
        payload: bytes,
        once: str | None = None,
    ) -> None:
        """Leave a message. Raises `RunEndedError`, `RunNotFoundError` or `MessageConflictError`."""
        trace = self._telemetry.sending(run_id, key, topic)
        send = Send(ids.new_id(self._cell), run_id, key, topic, payload, once, trace)
        future: asyncio.Future[None] = self._loop.create_future()
        self._sends[send.id] = (send, future)
        self._writer.touch().sends.append(send)
        await future

    async def send_in(
        self,
        tx: Tx,
        run_id: UUID | None,
        key: str | None,
        topic: str,
        payload: bytes,
        once: str | None = None,
    ) -> None:
        """Leave a message inside the caller's transaction. Raises as `send` does."""
        await self._require_own(tx)
        trace = self._telemetry.sending(run_id, key, topic)
        send = Send(ids.new_id(self._cell), run_id, key, topic, payload, once, trace)
        raise_if_not_sent(send, await store.send_message(tx, self._q, send))
        self._tell_sent(send, "sent")

    async def _require_own(self, tx: Tx) -> None:
        """Raise `ForeignTransactionError` unless *tx* commits together with our schema."""
        if await store.identity(tx, self._q) != await self.identity():
            raise ForeignTransactionError(FOREIGN)

    async def identity(self) -> str:
        """Of our database and schema, as a transaction says it that can commit together with them."""
        if self._identity is None:
            async with self._pool.connection() as connection:
                self._identity = await store.identity(connection, self._q)
        return self._identity

    # Being answered ---------------------------------------------------------------------------------------------------

    def flushed(self, batch: Batch, reply: Reply) -> None:
        """A batch is durable: answer whom it concerns."""
        for start in batch.starts:
            self._started(start, reply)
        for send in batch.sends:
            if reply.sent[send.id] == "busy":
                self._loop.call_later(_BUSY_AGAIN_S, self._send_again, self._writer.worker, send)
                continue
            _, future = self._sends.pop(send.id, (None, None))
            self._tell_sent(send, reply.sent[send.id])
            if future is not None and not future.done():
                _answer_send(future, send, reply.sent[send.id])

    def _started(self, start: Start, reply: Reply) -> None:
        if start.id not in self._starts:
            return
        if start.key is not None and start.key in reply.busy_keys:
            self._loop.call_later(_BUSY_AGAIN_S, self._start_again, self._writer.worker, start)
            return
        workflow, future = self._pop(start)
        existing = reply.known.get(start.id)
        self._tell_started(start, existing[0] if existing else start.id)
        if existing is None:
            self._on_started(start, workflow)
        if not future.done():
            future.set_result(existing or (start.id, True))

    def _tell_started(self, start: Start, run_id: UUID) -> None:
        self._telemetry.started(start.id, run_id, start.workflow, start.key, "start", start.trace)

    def _tell_sent(self, send: Send, status: str) -> None:
        if self._telemetry.on and status == "sent":
            self._telemetry.emit(events.MessageSent(send.run_id, send.key, send.topic))

    def _pop(self, start: Start) -> tuple[Workflow[Any, Any], asyncio.Future[tuple[UUID, bool]]]:
        _, workflow, future = self._starts.pop(start.id)
        self._claims.reserved -= start.claim
        return workflow, future

    def _start_again(self, worker: int, start: Start) -> None:
        if self._writer.worker == worker and start.id in self._starts:
            self._writer.touch().starts.append(start)

    def _send_again(self, worker: int, send: Send) -> None:
        if self._writer.worker == worker and send.id in self._sends:
            self._writer.touch().sends.append(send)

    def poisoned(self, request_id: UUID, error: BaseException) -> None:
        """The database refuses to store this request."""
        future: asyncio.Future[Any] | None = None
        if request_id in self._starts:
            _, future = self._pop(self._starts[request_id][0])
            self._telemetry.not_started(request_id)
        elif request_id in self._sends:
            _, future = self._sends.pop(request_id)
        if future is not None and not future.done():
            future.set_exception(error)

    # A new identity ---------------------------------------------------------------------------------------------------

    def pending(self) -> Pending:
        """What waits for an answer. Ask in the moment in which the writer got its new id: later ones travel under it."""
        return list(self._starts.values()), [send for send, _ in self._sends.values()]

    async def resubmit(self, pending: Pending, in_doubt: tuple[int, int, Batch] | None) -> None:
        """Settle what was pending under the id that is dead: what was done is answered, the rest is sent again."""
        starts, sends = pending
        reply, known = await self._found(in_doubt, [start.id for start, _, _ in starts])
        if reply is not None and in_doubt is not None:
            self._settle(in_doubt[2], reply)
        for start, _, future in starts:
            if start.id not in self._starts:
                continue
            if start.id in known:
                self._pop(start)
                self._tell_started(start, start.id)
                if not future.done():
                    future.set_result((start.id, True))
            else:
                self._writer.touch().starts.append(start)
        self._writer.touch().sends.extend(send for send in sends if send.id in self._sends)

    async def _found(
        self, in_doubt: tuple[int, int, Batch] | None, run_ids: list[UUID]
    ) -> tuple[Reply | None, set[UUID]]:
        """What the flush in doubt answered, if it committed, and which of these runs exist."""
        while in_doubt is not None or run_ids:
            with contextlib.suppress(DatabaseError, StoreError, OSError):
                async with self._pool.connection() as connection:
                    reply = None
                    if in_doubt is not None:
                        reply = await store.stored_reply(connection, self._q, *in_doubt[:2])
                    return reply, await store.known_runs(connection, self._q, run_ids)
            await asyncio.sleep(_RETRY_S)
        return None, set()

    def _settle(self, batch: Batch, reply: Reply) -> None:
        """A flush of the id that is dead did commit. Its runs belong to others by now; its answers are ours."""
        for start in batch.starts:
            if start.id in self._starts and start.key not in reply.busy_keys:
                _, future = self._pop(start)
                found = reply.known.get(start.id, (start.id, True))
                self._tell_started(start, found[0])
                if not future.done():
                    future.set_result(found)
        for send in batch.sends:
            status = reply.sent.get(send.id, "busy")
            if send.id in self._sends and status != "busy":
                _, sent = self._sends.pop(send.id)
                if not sent.done():
                    _answer_send(sent, send, status)

    def close(self) -> None:
        """Nobody will answer any more."""
        for _, sent in self._sends.values():
            sent.cancel()
        for start, _, started in self._starts.values():
            self._telemetry.not_started(start.id)
            started.cancel()


_Starting = tuple[Start, Workflow[Any, Any], "asyncio.Future[tuple[UUID, bool]]"]
Pending = tuple[list[_Starting], list[Send]]


def _answer_send(future: asyncio.Future[None], send: Send, status: str) -> None:
    try:
        raise_if_not_sent(send, status)
    except (RunEndedError, RunNotFoundError, MessageConflictError) as error:
        future.set_exception(error)
    else:
        future.set_result(None)
