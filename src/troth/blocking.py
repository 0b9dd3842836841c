"""A client for threads: Flask, Django, scripts. `with blocking.client(troth) as client: client.start(wf, 1).result()`.

An event loop in a thread of its own does the work; what is called here hands it over and waits. So any number of threads
share one client. After a fork the child opens anew by itself: it inherits neither the thread nor the connections, which
stay its parent's.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, TypeVarTuple, overload
from uuid import UUID

from troth.app import Run, Troth, Update
from troth.base import ids
from troth.base.errors import ForeignTransactionError, UsageError
from troth.journal.model import Send
from troth.journal.starts import FOREIGN
from troth.store.plan import carry_out_blocking
from troth.store.tx import BlockingTx
from troth.workflow.definition import Workflow
from troth.workflow.given import addressee, check_message_key, check_tx
from troth.workflow.runloop import current_branch
from troth.workflow.topics import Topic, as_topic

if TYPE_CHECKING:
    from flask import Flask

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_inherited: list[object] = []  # of the parent's: kept, so that nothing here closes it


class BlockingRun(Generic[R]):
    """A handle on one run, for threads."""

    def __init__(self, client: Client, run: Run[R]) -> None:
        self._client = client
        self._run = run
        self.id = run.id

    def __repr__(self) -> str:
        return repr(self._run)

    def result(self, timeout: float | timedelta | None = None) -> R:
        """As `Run.result`. Raises `RunFailedError`, `RunCancelledError` and `TimeoutError`."""
        return self._client.call(lambda: self._run.result(timeout))

    def cancel(self) -> None:
        """As `Run.cancel`. Raises `RunEndedError`."""
        self._client.call(self._run.cancel)

    def progress(self) -> Any:
        """As `Run.progress`. Raises `RunNotFoundError`."""
        return self._client.call(self._run.progress)

    def watch(self) -> Iterator[Update]:
        """As `Run.watch`, in a `for`. Raises `RunNotFoundError`."""
        updates = self._run.watch()
        try:
            while (update := self._client.call(lambda: anext(updates, None))) is not None:
                yield update
        finally:
            self._client.call(updates.aclose)


class Client:
    """Starts runs and waits for them, from any thread. It opens with its first use, in the process that uses it."""

    def __init__(self, troth: Troth) -> None:
        self._troth = troth
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        _clients.add(self)

    def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        key: str | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        partition: str | None = None,
        deadline: datetime | timedelta | None = None,
        tx: BlockingTx | None = None,
    ) -> BlockingRun[R]:
        """As `troth.start`: when this returns, the run is durable; with *tx*, if and when that commits. Raises what that raises."""
        if tx is not None:
            # Imported here: psycopg costs 150 ms, which an application that only imports need not pay.
            from troth.command import request_start, request_store

            self._require_own(tx)
            plan = request_start.start(
                request_store.queries(self._troth.schema), self._troth.cell, self._troth.workflows, workflow, args,
                key=key, at=at, priority=priority, partition=partition, deadline=deadline,
                telemetry=self._troth.telemetry,
            )  # fmt: skip
            run_id = carry_out_blocking(tx, plan)
            return BlockingRun(
                self, Run(self._troth, run_id, workflow if isinstance(workflow, Workflow) else None)
            )
        started = self.call(
            lambda: self._troth.start(
                workflow,
                *args,
                key=key,
                at=at,
                priority=priority,
                partition=partition,
                deadline=deadline,
            )
        )
        return BlockingRun(self, started)

    @overload
    def send(
        self,
        run: BlockingRun[Any] | UUID | str,
        topic: Topic[R],
        value: R,
        *,
        key: str | None = None,
        tx: BlockingTx | None = None,
    ) -> None: ...
    @overload
    def send(
        self,
        run: BlockingRun[Any] | UUID | str,
        topic: str,
        value: Any = None,
        *,
        key: str | None = None,
        tx: BlockingTx | None = None,
    ) -> None: ...
    def send(
        self,
        run: BlockingRun[Any] | UUID | str,
        topic: Topic[Any] | str,
        value: Any = None,
        *,
        key: str | None = None,
        tx: BlockingTx | None = None,
    ) -> None:
        """As `troth.send`: to a run by handle, id or start key. Raises `RunEndedError`, `RunNotFoundError` and `KeyConflictError`."""
        run_id, start_key = addressee(run)
        if tx is None:
            to = start_key if run_id is None else run_id
            assert to is not None
            self.call(lambda: self._troth.send(to, as_topic(topic), value, key=key))
            return
        from troth.command import request_start
        from troth.journal import store

        said = as_topic(topic)
        check_message_key(key)
        self._require_own(tx)
        telemetry = self._troth.telemetry
        trace = telemetry.sending(run_id, start_key, said.name)
        message = Send(
            ids.new_id(self._troth.cell),
            run_id,
            start_key,
            said.name,
            said.encode(value),
            key,
            trace,
        )
        carry_out_blocking(tx, request_start.send(store.queries(self._troth.schema), message))

    def cancel(self, run: BlockingRun[Any] | UUID) -> None:
        """Ask a run to stop. Raises `RunEndedError` and `RunNotFoundError`."""
        self.run(run.id if isinstance(run, BlockingRun) else run).cancel()

    def run(self, run_id: UUID | str) -> BlockingRun[Any]:
        """A handle on a run by its id."""
        return BlockingRun(self, self._troth.run(run_id))

    def call(self, make: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run a coroutine in the client's loop, and wait for it. Raises `UsageError` in a thread that runs an event loop."""
        if current_branch.get() is not None:
            raise UsageError("workflow code cannot do this itself: do it in a `def` step")
        if asyncio._get_running_loop() is not None:  # noqa: SLF001  (also that of a step)
            msg = "this would block the event loop that runs here: use `async with troth.client()` and await"
            raise UsageError(msg)
        loop = self._opened()
        future = asyncio.run_coroutine_threadsafe(_made(make), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _require_own(self, tx: BlockingTx) -> None:
        """Raise `ForeignTransactionError` unless *tx* commits together with the schema."""
        from troth.journal import store

        async def home() -> str:
            return await self._troth.node.requests.identity()

        check_tx(tx)
        row = tx.execute(store.queries(self._troth.schema).identity, ()).fetchone()
        if row is None or row[0] != self.call(home):
            raise ForeignTransactionError(FOREIGN)

    def init_app(self, app: Flask) -> None:
        """Be the client of a Flask application: `current_app.extensions["troth"]`. It opens with the first request.

        One client may serve many applications (one of each call of a factory). It lives as long as the process. `flask troth
        worker` executes runs in this program's own process. Raises `UsageError` if the application has another client.
        """
        from flask.cli import AppGroup

        if app.extensions.setdefault("troth", self) is not self:
            msg = f"the Flask application {app.name} has a client of troth already: use that, or make one for all"
            raise UsageError(msg)
        commands = AppGroup("troth", help="Durable runs of this application.")
        commands.command("worker", help="Execute runs until Ctrl-C or SIGTERM.")(self._work)
        app.cli.add_command(commands)

    def _work(self) -> None:
        from troth.worker.process import work_here

        work_here(self._troth)

    def close(self) -> None:
        """Close its connections and its thread. Calls that are under way are given up."""
        with self._lock:
            self._closed = True
            loop, leave, thread = self._loop, self._leave, self._thread
            self._loop = self._leave = self._thread = None
        if loop is not None and leave is not None and thread is not None:
            loop.call_soon_threadsafe(leave.set)
            thread.join()

    def __enter__(self) -> Self:
        self._opened()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                msg = "this client is closed"
                raise UsageError(msg)
            if self._loop is None:
                opened: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._serve(opened)),
                    name="troth client",
                    daemon=True,
                )
                self._thread.start()
                self._loop, self._leave = opened.result()
            return self._loop

    async def _serve(self, opened: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        try:
            async with self._troth.client():
                leave = asyncio.Event()
                opened.set_result((asyncio.get_running_loop(), leave))
                await leave.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    def _forked(self) -> None:
        """In the child: forget what is the parent's, without touching it."""
        _inherited.extend([self._loop, self._leave, self._thread])
        self._lock = threading.Lock()
        self._loop = self._leave = self._thread = None


@contextmanager
def client(troth: Troth) -> Iterator[Client]:
    """A client that is open now, and closed at the end. Raises `StoreError` if the database is not usable."""
    with Client(troth) as made:
        yield made


async def _made(make: Callable[[], Coroutine[Any, Any, R]]) -> R:
    return await make()


def _after_fork() -> None:
    for made in list(_clients):
        made._forked()  # noqa: SLF001  (of this module)


def _at_exit() -> None:
    for made in list(_clients):
        made.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
