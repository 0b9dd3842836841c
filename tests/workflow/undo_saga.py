"""A saga of six steps on two branches, the outside that it changes, and what must be true of both when it was undone.

The steps mix what undoing has to deal with: effects whose provider knows keys, effects that can only be asked about,
and transactions. The outside is a file that survives the process, and that counts requests which have consequences.
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from troth import Call, Found, Missing, Provider, Refused, Retry, Troth, Tx
from troth.base import codec
from troth.journal.model import Batch, Kind, Reply
from troth.worker.node import Node
from troth.workflow.context import step_context
from troth.workflow.perform import StepPerformer

STEPS = ("open", "left", "left again", "right", "right again", "close")
LEDGER = """
    CREATE TABLE IF NOT EXISTS ledger
        (n bigserial PRIMARY KEY, saga text NOT NULL, what text NOT NULL, name text NOT NULL);
"""
SOON = Retry(attempts=20, first=timedelta(milliseconds=20), longest=timedelta(milliseconds=50))
KEYS = Provider("keys", key_lifetime=timedelta(hours=1))
ASKED = Provider("asked", lands_within=timedelta(0))


@dataclass(frozen=True)
class Case:
    """One saga. *mark*: names it, outside; *refused*: the step that says no; *held*: the step that is held up."""

    mark: str
    refused: str = ""
    held: str = ""


class World:
    """What requests have done at the other side: one row for each that had a consequence."""

    def __init__(self, file: Path) -> None:
        self._session = sqlite3.connect(file, timeout=10, isolation_level=None)
        # A killed process loses nothing that the system has got.
        self._session.execute("PRAGMA synchronous = OFF")
        self._session.execute(
            "CREATE TABLE IF NOT EXISTS request"
            " (n INTEGER PRIMARY KEY, saga TEXT, what TEXT, name TEXT, key TEXT, once TEXT UNIQUE)"
        )

    def close(self) -> None:
        self._session.close()

    def request(self, call: Call, case: Case, what: str, name: str, *, keyed: bool) -> None:
        """Do it; a provider that knows keys does it once for each of them."""
        once = call.key if keyed else str(uuid.uuid4())
        self._session.execute(
            "INSERT OR IGNORE INTO request (saga, what, name, key, once) VALUES (?, ?, ?, ?, ?)",
            (case.mark, what, name, call.key, once),
        )

    def has(self, call: Call) -> bool:
        """Has a request with this key had a consequence?"""
        found = self._session.execute("SELECT 1 FROM request WHERE key = ?", (call.key,))
        return found.fetchone() is not None

    def names(self, case: Case, what: str) -> list[str]:
        """What was made or unmade for a saga, in that order."""
        rows = self._session.execute(
            "SELECT name FROM request WHERE saga = ? AND what = ? ORDER BY n", (case.mark, what)
        )
        return [name for (name,) in rows]


async def _at_once(_case: Case) -> None:
    """Nothing is held up."""


class Program:
    """The saga, under several names. The step that is held waits for `hold` when it has begun."""

    def __init__(  # noqa: C901  (it only defines)
        self, troth: Troth, world: World, sagas: Iterable[str], timeout: float
    ) -> None:
        self.troth = troth
        self.hold: Callable[[Case], Awaitable[None]] = _at_once
        self.commits: Commits | None = None  # who looks on

        async def begin(name: str, case: Case) -> None:
            if name == case.held:
                await self.hold(case)
            if name == case.refused:
                raise Refused(name)

        @troth.effect(provider=KEYS, timeout=timeout, retry=SOON)
        async def keyed(call: Call, name: str, case: Case) -> str:
            await begin(name, case)
            world.request(call, case, "make", name, keyed=True)
            return name

        @keyed.undo(retry=SOON)
        async def unkeyed(call: Call, made: str, name: str, case: Case) -> None:
            world.request(call, case, "unmake", made, keyed=True)

        # To its other side each request is another one; but it can be asked.
        @troth.effect(provider=ASKED, timeout=timeout, retry=SOON)
        async def asked(call: Call, name: str, case: Case) -> str:
            await begin(name, case)
            world.request(call, case, "make", name, keyed=False)
            return name

        @asked.probe(retry=SOON)
        async def find(call: Call, name: str, case: Case) -> Found[str] | Missing:
            return Found(name) if world.has(call) else Missing()

        @asked.undo(retry=SOON)
        async def unask(call: Call, made: str, name: str, case: Case) -> None:
            world.request(call, case, "unmake", made, keyed=False)

        @unask.probe(retry=SOON)
        async def find_unasked(
            call: Call, made: str, name: str, case: Case
        ) -> Found[None] | Missing:
            return Found(None) if world.has(call) else Missing()

        async def enter(tx: Tx, case: Case, what: str, name: str) -> None:
            await tx.execute(
                "INSERT INTO ledger (saga, what, name) VALUES (%s, %s, %s)", (case.mark, what, name)
            )
            if self.commits is not None:
                await self.commits.before_transaction()

        @troth.transaction
        async def write(tx: Tx, name: str, case: Case) -> str:
            await begin(name, case)
            await enter(tx, case, "write", name)
            return name

        @write.undo
        async def erase(tx: Tx, written: str, name: str, case: Case) -> None:
            await enter(tx, case, "erase", written)

        async def saga(case: Case) -> None:
            async def left() -> None:
                await keyed("left", case)
                await write("left again", case)

            async def right() -> None:
                await write("right", case)
                await asked("right again", case)

            await asked("open", case)
            await asyncio.gather(left(), right())
            await keyed("close", case)
            await troth.receive("never")

        self.sagas = {name: troth.workflow(name=name)(saga) for name in sagas}


class Commits:
    """Counts the commits of an undoing on one worker, flushes and step transactions, and stops that worker at one.

    The undoing begins with the commit of the refusal or of the cancellation. *kept*: the database has got the commit at
    which the worker is stopped; otherwise it never does.
    """

    def __init__(
        self,
        program: Program,
        node: Node,
        at: int,
        stop: Callable[[], Awaitable[None]],
        *,
        kept: bool,
    ) -> None:
        self.count = 0
        self._begun = False
        self._transactions: dict[str, int] = {}  # by path: the numbers of those under way
        self._at = at
        self._kept = kept
        self._stop = stop
        performer = node.engine.performer
        assert isinstance(performer, StepPerformer)
        transactor = performer._transactor
        flush, attempt = node.writer._flush, transactor._attempt

        async def flushed(batch: Batch) -> Reply:
            if not self._counts(batch):
                return await flush(batch)
            number = await self.before()
            reply = await flush(batch)
            await self._after(number)
            return reply

        async def attempted(run: Any, call: Any, *rest: Any) -> Any:
            value = await attempt(run, call, *rest)
            await self._after(self._transactions.pop(call.path, None))
            return value

        program.commits = self
        node.writer._flush = flushed  # type: ignore[method-assign]
        transactor._attempt = attempted  # type: ignore[method-assign,assignment]

        def lift() -> None:
            program.commits = None
            node.writer._flush = flush  # type: ignore[method-assign]
            transactor._attempt = attempt  # type: ignore[method-assign]

        self.lift = lift

    def _counts(self, batch: Batch) -> bool:
        self._begun = self._begun or any(
            entry.kind == Kind.RESULT and (entry.ok is False or entry.path == "!cancel")
            for entry in batch.entries
        )
        said = batch.entries or batch.undoing or batch.ends or batch.releases
        return self._begun and bool(said)

    async def before(self) -> int:
        """A commit of the undoing is about to be made; its number."""
        self.count += 1
        number = self.count
        if number == self._at and not self._kept:
            await self._stop()
        return number

    async def before_transaction(self) -> None:
        """The body of a step transaction is done, and nothing of it is committed."""
        if self._begun:
            current = step_context.get()
            assert current is not None
            self._transactions[current[1]] = await self.before()

    async def _after(self, number: int | None) -> None:
        if number == self._at and self._kept:
            await self._stop()


# What must hold ---------------------------------------------------------------------------------------------------------


class Eyes(Protocol):
    """Who can read the database."""

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask it; `{s}` is the schema."""


def assert_undone(eyes: Eyes, world: World, case: Case, run: UUID, *, state: str) -> list[str]:
    """Everything that was done was undone once, the last thing first, outside and inside; what was done, in order."""
    ended = eyes.rows("SELECT state::text FROM {s}.run_history WHERE id = %s", run)
    assert ended == [(state,)]
    results = eyes.rows(
        "SELECT path, ok, payload FROM {s}.journal WHERE run_id = %s AND kind = %s AND path <> '!cancel'"
        " ORDER BY seq",
        run,
        int(Kind.RESULT),
    )
    paths = [path for path, _, _ in results]
    end = paths.index("!settled") if "!settled" in paths else len(paths)
    done = {path: codec.decode(bytes(payload)) for path, ok, payload in results[:end] if ok}
    undone = [(path.removeprefix("!undo/"), ok) for path, ok, _ in results[end + 1 :]]
    assert undone == [(path, True) for path in reversed(done)], paths

    names = list(done.values())
    written = [name for path, name in done.items() if path.endswith("write")]
    made = [name for name in names if name not in written]
    assert sorted(world.names(case, "make")) == sorted(made)
    assert world.names(case, "unmake") == made[::-1]
    entered = ledger(eyes, case, "write")
    assert sorted(entered) == sorted(written), (case, entered, results)
    assert ledger(eyes, case, "erase") == written[::-1]
    return names


def ledger(eyes: Eyes, case: Case, what: str) -> Sequence[str]:
    rows = eyes.rows(
        "SELECT name FROM ledger WHERE saga = %s AND what = %s ORDER BY n", case.mark, what
    )
    return [name for (name,) in rows]
