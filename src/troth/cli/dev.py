"""`troth dev`: a database, a worker that follows the source code, and the console, for work on a laptop."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from troth.base import settings
from troth.base.errors import UsageError
from troth.cli.console import Beside
from troth.cli.failure import USAGE
from troth.cli.logs import configure
from troth.cli.worker import DatabaseUrl, Format, Level

if TYPE_CHECKING:
    from troth.cli.serve import Hello, Order
    from troth.worker.supervisor import Child

app = App(name="dev")

POLL_S = 0.5  # how often the files are looked at
_NOT_SOURCES = frozenset({"__pycache__", "node_modules"})

Snapshot = dict[str, int]


@app.default
def dev(
    program: Annotated[
        str | None,
        Parameter(
            help="The Troth object, as MODULE:NAME. Without it only the database is kept running."
        ),
    ] = None,
    /,
    *,
    database_url: DatabaseUrl = None,
    log_format: Format = None,
    log_level: Level = None,
) -> int:
    """Keep a migrated database, one worker and the console running; the worker begins anew when a Python file changes.

    Without a database of your own it is an embedded PostgreSQL in ./.troth/. Ctrl-C ends everything.

    Example: troth dev shop.app:troth
    """
    from troth.cli.serve import Order
    from troth.worker.node import NodeOptions

    said = settings.read()
    log_format, log_level = log_format or said.log_format, log_level or said.log_level
    configure(log_format, log_level)
    if program is None:
        return asyncio.run(_keep_database(database_url))
    order = Order(NodeOptions(), log_format, log_level, database_url, migrate=True)
    return asyncio.run(_Reloading(program, order).run())


async def _keep_database(url: str | None) -> int:
    from troth.store.connect import Database
    from troth.store.migrate import migrate
    from troth.worker.supervisor import on_stop_signals

    with await asyncio.to_thread(Database.find, url) as database:
        if database.origin != "embedded":
            msg = (
                f"the database is chosen by {database.origin}, so there is no embedded one to keep running: "
                "name a program (MODULE:NAME), or unset that"
            )
            raise UsageError(msg)
        await asyncio.to_thread(migrate, database.url, settings.read().schema)
        stop, console = asyncio.Event(), Beside()
        with on_stop_signals(stop.set):
            _say(
                f"database  {database.url}",
                "running   the embedded PostgreSQL alone; Ctrl-C ends it",
            )
            await console.show(database.url, settings.read().schema)
            await stop.wait()
            await console.close()
    return 0


class _Reloading:
    """One worker process at a time, replaced by another one whenever the sources change."""

    def __init__(self, program: str, order: Order) -> None:
        self._program = program
        self._order = order
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._stack = (
            ExitStack()
        )  # holds the embedded server, so that it outlives the worker's restarts
        self._held = False
        self._console = Beside()

    async def run(self) -> int:
        """Until stopped: 0; 2 if the program's name is wrong from the start."""
        from troth.worker.supervisor import on_stop_signals

        with self._stack, on_stop_signals(self._stop):
            try:
                return await self._follow()
            finally:
                await self._console.close()

    async def _follow(self) -> int:
        import msgspec

        from troth.cli.serve import Hello, command
        from troth.worker.supervisor import Child

        first = True
        while not self._stopping.is_set():
            seen = await asyncio.to_thread(snapshot, Path.cwd())
            child = self._child = await Child.spawn(
                command(self._program), msgspec.json.encode(self._order)
            )
            said = await child.ready()
            if said is not None:
                await self._ready(msgspec.json.decode(said, type=Hello))
            changed = asyncio.create_task(self._changed(seen))
            ended = asyncio.create_task(child.wait())
            await asyncio.wait({changed, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and said is None and first and ended.result() == USAGE:
                changed.cancel()
                return USAGE
            if ended.done() and not changed.done():
                _say("the worker has ended; it begins anew when a file changes")
            what = await changed
            if not ended.done():
                child.drain()
            await ended
            if what:
                _say(f"changed: {what}")
            first = False
        return 0

    def _stop(self) -> None:
        if self._child is not None:
            if self._stopping.is_set():
                self._child.kill()
            else:
                self._child.drain()
        self._stopping.set()

    async def _ready(self, hello: Hello) -> None:
        if hello.origin == "embedded" and not self._held:
            from troth.store.embedded import Embedded

            claim = await asyncio.to_thread(Embedded.acquire, Path(hello.directory))
            self._stack.enter_context(claim)
            self._held = True
        chosen = "embedded" if hello.origin == "embedded" else f"by {hello.origin}"
        workflows = ", ".join(hello.workflows) or "no workflows"
        _say(
            f"database  {hello.database} ({chosen}), schema {hello.schema}",
            f"worker    {self._program}: {workflows}",
        )
        await self._console.show(hello.url, hello.schema)

    async def _changed(self, seen: Snapshot) -> str | None:
        """The file that changed; None when stopped."""
        while not self._stopping.is_set():
            now = await asyncio.to_thread(snapshot, Path.cwd())
            if now != seen:
                return _first_difference(seen, now)
            try:
                async with asyncio.timeout(POLL_S):
                    await self._stopping.wait()
            except TimeoutError:
                continue
        return None


def snapshot(root: Path) -> Snapshot:
    """The Python files below *root* with their times of change; hidden directories and environments are left out."""
    found: Snapshot = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if _may_hold_sources(directory, name)]
        for file in files:
            if file.endswith(".py"):
                path = os.path.join(directory, file)  # noqa: PTH118  (a walk of many files)
                try:
                    found[path] = os.stat(path).st_mtime_ns  # noqa: PTH116
                except FileNotFoundError:  # written anew by an editor at this moment
                    continue
    return found


def _may_hold_sources(directory: str, name: str) -> bool:
    if name.startswith(".") or name in _NOT_SOURCES:
        return False
    return not Path(directory, name, "pyvenv.cfg").exists()


def _first_difference(before: Snapshot, now: Snapshot) -> str:
    paths = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return os.path.relpath(paths[0]) + more


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)
