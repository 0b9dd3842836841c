"""Transaction steps: the user's rows and the journal entry in ONE commit, exactly once.

The entry and the fence are the last statement before COMMIT. If the connection is lost before COMMIT was sent, nothing
happened, and the body runs again. If it is lost during COMMIT, nobody knows yet: the transaction holds the run's row
until it has ended, so whoever gets that row's lock can read in the journal what became of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString
from weakref import WeakKeyDictionary, WeakSet

from troth.base.clock import Clock
from troth.base.errors import FencedError, ForeignTransactionError
from troth.journal import store
from troth.store.connect import AsyncPool, BlockingPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError, Failure
from troth.store.sources import (
    BlockingOpened,
    BlockingSource,
    Opened,
    OwnBlockingSource,
    OwnSource,
    Source,
)
from troth.store.tx import BlockingTx
from troth.workflow.calls import PendingCall
from troth.workflow.context import StepContext, step_context
from troth.workflow.definition import StepDefinition
from troth.workflow.run import ActiveRun

log = logging.getLogger("troth.workflow")

_AGAIN_S = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


_FOREIGN = (
    "the source of {name} is not in the database that holds troth's schema, so the two cannot commit together. Make it "
    "from an engine or a pool of the same database, or leave via= out."
)


class _LostCommitError(Exception):
    """COMMIT was sent and not answered. *cause*: what came instead, if that is no failure of the connection."""

    def __init__(self, cause: Exception | None) -> None:
        self.cause = cause


class _Place:
    """The place in the run's order of deliveries that one attempt takes, as late as it can."""

    def __init__(self, run: ActiveRun, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self.seq = 0
        self.at = 0.0

    def take(self) -> None:
        """Just before the entry is written. Safe from any thread."""
        self.seq = self._run.take_seq()
        self.at = round(self._clock.now(), 6)

    def give_back(self) -> None:
        """The attempt came to nothing."""
        if self.seq:
            self._run.void(self.seq)


class Transactor:
    """Runs transaction steps of one worker."""

    def __init__(
        self,
        schema: str,
        pool: AsyncPool,
        blocking_pool: BlockingPool,
        threads: ThreadPoolExecutor,
        clock: Clock,
    ) -> None:
        self._q = store.queries(schema)
        self._pool = pool
        self._blocking_pool = blocking_pool
        self._own = OwnSource(pool)
        self._own_blocking = OwnBlockingSource(blocking_pool)
        self._threads = threads
        self._clock = clock
        self.worker = 0
        self._signed: WeakKeyDictionary[object, int] = WeakKeyDictionary()  # sessions: whose
        self._home: str | None = None  # the identity of our database
        self._at_home: WeakSet[object] = WeakSet()  # sources that are known to be in it

    async def transact(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: StepDefinition[Any, Any],
        attempt: int = 1,
    ) -> None:
        """Run the body until it has committed once. Raises whatever the body raises; nothing is committed then."""
        tries = 0
        # Here, and not where the body begins: threads are given a copy of this context.
        step_context.set(StepContext(run.id, call.path, run.workflow.name, attempt, self.worker))
        while True:
            place = _Place(run, self._clock)
            try:
                value = await self._attempt(run, call, definition, place)
                run.recorded += 1
                run.settle(place.seq, call, value, None, place.at)
                return
            except _LostCommitError as lost:
                payload = await self._settle(run, call)
                if payload is not None:
                    value = definition.result.decode(payload)
                    run.settle(place.seq, call, value, None, place.at)
                    return
                place.give_back()
                if lost.cause is not None:
                    raise lost.cause from None
            except FencedError as error:
                place.give_back()
                log.warning("%s", error)
                return
            except Exception as error:
                place.give_back()
                failure = self._source(definition).failure(error)
                if failure is Failure.FENCED:
                    log.warning("run %s belongs to another worker now", run.id)
                    return
                if failure not in (Failure.LOST, Failure.CONFLICT):
                    raise
                log.info("transaction %s of run %s is tried again: %s", call.path, run.id, error)
            except BaseException:
                place.give_back()
                raise
            await asyncio.sleep(_AGAIN_S[min(tries, len(_AGAIN_S) - 1)] * random.uniform(0.5, 1))  # noqa: S311
            tries += 1

    async def _attempt(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], place: _Place
    ) -> Any:
        if definition.is_async:
            return await self._attempt_async(run, call, definition, place)
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads,
            functools.partial(context.run, self._attempt_blocking, run, call, definition, place),
        )

    async def _attempt_async(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], place: _Place
    ) -> Any:
        args, kwargs = definition.arguments.decode(call.encoded)
        source: Source[Any] = definition.via or self._own
        committing = False
        try:
            async with source.open(definition.isolation) as opened:
                if self._is_new(opened.session):
                    await self._receive(definition, source, opened)
                value = await definition.function(opened.handle, *args, **kwargs)
                payload = definition.result.encode(value)
                value = definition.result.echo(value, payload)
                await opened.finish(self._q.finish_step, self._entry(run, call, place, payload))
                committing = True
        except Exception as error:
            if committing:
                _raise_if_lost(source, error)
            raise
        return value

    def _attempt_blocking(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], place: _Place
    ) -> Any:
        args, kwargs = definition.arguments.decode(call.encoded)
        source: BlockingSource[Any] = definition.via or self._own_blocking
        committing = False
        try:
            with source.open_blocking(definition.isolation) as opened:
                if self._is_new(opened.session):
                    self._receive_blocking(definition, source, opened)
                value = definition.function(opened.handle, *args, **kwargs)
                payload = definition.result.encode(value)
                value = definition.result.echo(value, payload)
                opened.finish(self._q.finish_step, self._entry(run, call, place, payload))
                committing = True
        except Exception as error:
            if committing:
                _raise_if_lost(source, error)
            raise
        return value

    def _source(self, definition: StepDefinition[Any, Any]) -> Source[Any] | BlockingSource[Any]:
        return definition.via or (self._own if definition.is_async else self._own_blocking)

    def _is_new(self, session: object | None) -> bool:
        """Is this session not signed under this worker id? Then a takeover would not know what it has open."""
        return session is None or self._signed.get(session) != self.worker

    async def _receive(
        self, definition: StepDefinition[Any, Any], source: Source[Any], opened: Opened[Any]
    ) -> None:
        """Sign a session, or one transaction of a source whose sessions forget; make sure that the database is ours."""
        if opened.session is not None:
            await opened.tx.execute(self._q.sign_session, (self.worker,))
            self._signed[opened.session] = self.worker
            return
        if source not in self._at_home:
            if self._home is None:
                async with self._pool.connection() as connection:
                    self._home = await store.identity(connection, self._q)
            if await store.identity(opened.tx, self._q) != self._home:
                raise ForeignTransactionError(_FOREIGN.format(name=definition.name))
            self._at_home.add(source)
        await opened.tx.execute(self._q.sign_transaction, (self.worker,))

    def _receive_blocking(
        self,
        definition: StepDefinition[Any, Any],
        source: BlockingSource[Any],
        opened: BlockingOpened[Any],
    ) -> None:
        if opened.session is not None:
            opened.tx.execute(self._q.sign_session, (self.worker,))
            self._signed[opened.session] = self.worker
            return
        if source not in self._at_home:
            if self._home is None:
                with self._blocking_pool.connection() as connection:
                    self._home = _identity(connection, self._q.identity)
            if _identity(opened.tx, self._q.identity) != self._home:
                raise ForeignTransactionError(_FOREIGN.format(name=definition.name))
            self._at_home.add(source)
        opened.tx.execute(self._q.sign_transaction, (self.worker,))

    def _entry(
        self, run: ActiveRun, call: PendingCall, place: _Place, payload: bytes
    ) -> tuple[Any, ...]:
        place.take()
        return (
            run.id, self.worker, run.claim, call.path, run.past.answered_before(call.path), place.seq, True, call.digest, payload,
            place.at,
        )  # fmt: skip

    async def _settle(self, run: ActiveRun, call: PendingCall) -> bytes | None:
        """The stored result of a transaction whose COMMIT got no answer, or None if it was rolled back."""
        while True:
            try:
                async with self._pool.connection() as connection:
                    held = await connection.execute(
                        self._q.settle_step, (run.id, self.worker, run.claim)
                    )
                    if await held.fetchone() is None:
                        raise FencedError(f"run {run.id} belongs to another worker now")
                    row = await (
                        await connection.execute(
                            self._q.step_result,
                            (run.id, call.path, run.past.answered_before(call.path)),
                        )
                    ).fetchone()
                    return None if row is None else bytes(row[1])
            except (DatabaseError, StoreError, OSError) as error:
                log.info(
                    "the commit of %s of run %s is being settled: %s", call.path, run.id, error
                )
                await asyncio.sleep(_AGAIN_S[3])


def _raise_if_lost(source: Source[Any] | BlockingSource[Any], error: Exception) -> None:
    """COMMIT was under way. Unless the server has refused it, only the journal knows what became of it."""
    failure = source.failure(error)
    if failure is None or failure is Failure.LOST:
        raise _LostCommitError(error if failure is None else None) from error


def _identity(tx: BlockingTx, query: LiteralString) -> str:
    row = tx.execute(query, ()).fetchone()
    assert row is not None
    return str(row[0])
