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
from typing import Any
from weakref import WeakKeyDictionary

from troth.base.clock import Clock
from troth.base.errors import FencedError
from troth.journal import store
from troth.store.connect import AsyncPool, BlockingPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.isolation import transaction_async, transaction_blocking
from troth.workflow.calls import PendingCall
from troth.workflow.context import step_context
from troth.workflow.definition import StepDefinition
from troth.workflow.run import ActiveRun

log = logging.getLogger("troth.workflow")

_AGAIN_S = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


class _LostCommitError(Exception):
    """COMMIT was sent and not answered."""


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
        self._threads = threads
        self._clock = clock
        self.worker = 0
        self._signed: WeakKeyDictionary[object, int] = WeakKeyDictionary()  # sessions: whose

    async def transact(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any]
    ) -> None:
        """Run the body until it has committed once. Raises whatever the body raises; nothing is committed then."""
        tries = 0
        while True:
            place = _Place(run, self._clock)
            try:
                value = await self._attempt(run, call, definition, place)
                run.settle(place.seq, call, value, None, place.at)
                return
            except _LostCommitError:
                payload = await self._settle(run, call)
                if payload is not None:
                    value = definition.result.decode(payload)
                    run.settle(place.seq, call, value, None, place.at)
                    return
                place.give_back()
            except FencedError as error:
                place.give_back()
                log.warning("%s", error)
                return
            except (DatabaseError, StoreError, OSError) as error:
                place.give_back()
                failure = failure_of(error)
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
        step_context.set((run.id, call.path))
        committing = False
        async with self._pool.connection() as connection:
            try:
                if self._must_sign(connection):
                    await connection.execute(self._q.sign_session, (self.worker,))
                async with transaction_async(connection, definition.isolation):
                    value = await definition.function(connection, *args, **kwargs)
                    payload = definition.result.encode(value)
                    value = definition.result.echo(value, payload)
                    entry = self._entry(run, call, place, payload)
                    await connection.execute(self._q.finish_step, entry)
                    committing = True
            except DatabaseError as error:
                if committing and failure_of(error) is Failure.LOST:
                    raise _LostCommitError from error
                raise
        return value

    def _attempt_blocking(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], place: _Place
    ) -> Any:
        args, kwargs = definition.arguments.decode(call.encoded)
        step_context.set((run.id, call.path))
        committing = False
        with self._blocking_pool.connection() as connection:
            try:
                if self._must_sign(connection):
                    connection.execute(self._q.sign_session, (self.worker,))
                with transaction_blocking(connection, definition.isolation):
                    value = definition.function(connection, *args, **kwargs)
                    payload = definition.result.encode(value)
                    value = definition.result.echo(value, payload)
                    entry = self._entry(run, call, place, payload)
                    connection.execute(self._q.finish_step, entry)
                    committing = True
            except DatabaseError as error:
                if committing and failure_of(error) is Failure.LOST:
                    raise _LostCommitError from error
                raise
        return value

    def _must_sign(self, session: object) -> bool:
        """Is this session new under this worker id? Then a takeover would not know what it has open."""
        known = self._signed.get(session)
        self._signed[session] = self.worker
        return known != self.worker

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
