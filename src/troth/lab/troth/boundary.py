"""Where the engine's calls to its database are caught: its functions, and the transactions of its steps.

Each becomes an operation of the attempt. The engine's own code is not changed: its writer, its claims and its performers call what they
always call.
"""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

from troth.base import backoff, ids
from troth.journal import store
from troth.journal.model import ClaimedRun, Entry, Message
from troth.journal.writer import Writer
from troth.lab.edge.attempt import Attempt
from troth.lab.edge.patch import replaced
from troth.lab.model import Observation, Op
from troth.lab.troth.server import SCHEMA
from troth.lab.troth.wire import DatabaseFailed, plain, raised, real
from troth.store import raw
from troth.workflow import context, departure, effects

NESTED = "a transaction inside the transaction of a step is not followed yet"


class Desk:
    """Asks the lab on behalf of one process."""

    def __init__(self, attempt: Attempt, target: str) -> None:
        self.attempt = attempt
        self.target = target
        self.now = 0.0
        """Seconds since the lab's epoch, as this process knows it."""
        self.loaded: dict[Any, Any] = {}
        """Runs that a flush has claimed, as they were then."""

    def call(self, text: str, *params: Any) -> Any:
        """One function of the protocol. Raises what psycopg would."""
        op = Op("call", self.target, text, tuple(plain(one) for one in params))
        return self._heard(self.attempt.ask(op))

    def statement(self, query: str, params: Any, handle: int) -> list[Any]:
        """One statement of a transaction step: its row count, its columns, its rows."""
        found: list[Any] = self._heard(
            self.attempt.ask(Op("sql", self.target, query, (plain(params),), handle))
        )
        return found

    def tell(self, kind: Any, handle: int = 0, text: str = "", *params: Any) -> None:
        """Something that has no answer."""
        seen = self.attempt.ask(Op(kind, self.target, text, params, handle))
        if seen.error:
            raise raised(seen)

    def _heard(self, seen: Observation) -> Any:
        if seen.error:
            raise raised(seen)
        value, self.now = seen.value
        return real(value)

    def refuse(self, why: str) -> NoReturn:
        """The lab cannot speak about this code."""
        self.attempt.refuse(why)


# ── the writer ──────────────────────────────────────────────────────────────────────────────────


class LabWriter(Writer):
    """troth's writer, without a connection of its own."""

    async def _connected(self) -> Any:
        return None

    async def _disconnect(self) -> None:
        return


def flush_of(desk: Desk, telling: Callable[[], str]) -> Callable[..., Any]:
    """What the writer calls to commit a batch; `telling` says what is in it."""

    async def value(connection: Any, query: str, params: Sequence[Any]) -> Any:
        del connection
        if query != store.queries(SCHEMA).flush:
            desk.refuse("a statement that is no flush is sent in the writer's way")
        text, loaded = desk.call(telling(), list(params))
        desk.loaded.update((run[0], run) for run in loaded)
        return text

    return value


def beat(desk: Desk, worker: int, fenced: Callable[[BaseException], None]) -> None:
    """One beat of a worker's heart, which tells it whether it was declared dead."""
    try:
        desk.call("beat", worker)
    except DatabaseFailed as error:
        fenced(error)


def claimed_runs_of(desk: Desk, fenced: Callable[[BaseException], None]) -> Callable[..., Any]:
    """What claims read: runs with their journals."""

    async def claimed_runs(tx: Any, q: Any, worker: int, run_ids: Any) -> list[ClaimedRun]:
        del tx, q
        found = []
        known = [desk.loaded.pop(run) for run in run_ids if run in desk.loaded]
        for run in known or desk.call("claimed runs", worker, list(run_ids)):
            row = list(run)
            row[6] = [Entry(*entry) for entry in row[6]]
            row[7] = [Message(*message) for message in row[7]]
            found.append(ClaimedRun(*row))
        if not found:  # it belongs to others now
            beat(desk, worker, fenced)
        return found

    return claimed_runs


@contextmanager
def caught(
    desk: Desk, telling: Callable[[], str], fenced: Callable[[BaseException], None]
) -> Iterator[None]:
    """The engine of this attempt asks the lab while the context lasts."""

    def refused(what: str) -> Callable[..., NoReturn]:
        return lambda *_, **__: desk.refuse(what)

    clock = SimpleNamespace(monotonic=lambda: desk.now)
    chance = SimpleNamespace(random=lambda: 1.0)
    fresh = "child runs, mappings, continuations and messages between runs have fresh ids: they are not followed yet"
    with replaced({
        (raw, "value"): flush_of(desk, telling),
        (store, "claimed_runs"): claimed_runs_of(desk, fenced),
        (effects, "time"): clock,
        (departure, "time"): clock,
        (backoff, "random"): chance,
        (ids, "new_id"): refused(fresh),
        (context, "_branch"): _timeless(desk),
    }):  # fmt: skip
        yield


def _timeless(desk: Desk) -> Callable[[str], Any]:
    branch = context._branch  # noqa: SLF001  (where a workflow is asked for its time)

    def asked(what: str) -> Any:
        if what == "now":
            desk.refuse("workflow code asks for the time (troth.now): that is not followed yet")
        return branch(what)

    return asked


@contextmanager
def quiet() -> Iterator[None]:
    """What goes wrong here, goes wrong on purpose: it is told by reports, not by logs."""
    log = logging.getLogger("troth")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


# ── transaction steps ───────────────────────────────────────────────────────────────────────────


class Pool:
    """What the performers take for a pool."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        yield Connection(self._desk, next(self._desk.attempt.handles))


class BlockingPool:
    """The same for `def` steps."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @contextmanager
    def connection(self) -> Iterator[BlockingConnection]:
        yield BlockingConnection(self._desk, next(self._desk.attempt.handles))


class _Connection:
    def __init__(self, desk: Desk, handle: int) -> None:
        self.desk = desk
        self.handle = handle
        self.open = False

    @property
    def pgconn(self) -> Any:
        """Whether the body has ended the transaction itself: it cannot."""
        return SimpleNamespace(transaction_status=2)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.desk.refuse(
            f"a transaction step uses .{name} of its connection; the lab follows execute() and what it returns"
        )

    def begin(self) -> None:
        if self.open:
            self.desk.refuse(NESTED)
        self.open = True

    def end(self, *, commit: bool) -> None:
        self.open = False
        self.desk.tell("commit" if commit else "rollback", self.handle)

    def run(self, query: str, params: Any) -> list[Any]:
        if query == store.queries(SCHEMA).sign_session:
            return [1, [], []]  # what a takeover ends is a process that has died
        return self.desk.statement(query, params, self.handle)


class Connection(_Connection):
    """An asynchronous one."""

    async def set_isolation_level(self, level: Any) -> None:
        """Transactions of steps come one after the other."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Committed on leaving, rolled back by an exception."""
        self.begin()
        try:
            yield
        except BaseException:
            self.end(commit=False)
            raise
        self.end(commit=True)

    async def execute(self, query: str, params: Any = None, **_: Any) -> Cursor:
        """One statement."""
        return Cursor(self.run(query, params))


class Cursor:
    """What a statement returned."""

    def __init__(self, found: list[Any]) -> None:
        self.rowcount, self._names, rows = found
        self._rows = None if rows is None else [tuple(row) for row in rows]

    async def fetchone(self) -> Any:
        """The next row."""
        return self._rows.pop(0) if self._rows else None

    async def fetchall(self) -> Any:
        """All that are left."""
        rows, self._rows = self._rows, []
        return rows


class BlockingConnection(_Connection):
    """One of a thread."""

    isolation_level: Any = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Committed on leaving, rolled back by an exception."""
        self.begin()
        try:
            yield
        except BaseException:
            self.end(commit=False)
            raise
        self.end(commit=True)

    def execute(self, query: str, params: Any = None, **_: Any) -> BlockingCursor:
        """One statement."""
        return BlockingCursor(self.run(query, params))


class BlockingCursor:
    """What a statement returned."""

    def __init__(self, found: list[Any]) -> None:
        self.rowcount, self._names, rows = found
        self._rows = None if rows is None else [tuple(row) for row in rows]

    def fetchone(self) -> Any:
        """The next row."""
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> Any:
        """All that are left."""
        rows, self._rows = self._rows, []
        return rows


class Inline(concurrent.futures.ThreadPoolExecutor):
    """Runs a function where it is handed over: `def` steps hold up their process."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            done.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  (the future's)
            done.set_exception(error)
        return done
