"""aiosqlite: what it would hand to a thread of its own is done at once, on connections of `sqlite3` that ask the lab."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from troth.lab.edge import tasks
from troth.lab.edge.attempt import attributed, current
from troth.lab.edge.patch import replaced

if TYPE_CHECKING:
    import asyncio


class AtOnce:
    """The queue of a connection, and the thread behind it: one strand with whoever waits for the result."""

    def put_nowait(self, item: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        future, function = item
        try:
            result = function()
        except Exception as error:
            if future is None:
                raise
            future.set_exception(error)
        else:
            if future is not None:
                future.set_result(result)


@contextmanager
def caught() -> Iterator[None]:
    """Aiosqlite has no threads while the context lasts. Nothing is imported if the application has no aiosqlite."""
    if "aiosqlite" not in sys.modules:
        yield
        return
    from aiosqlite import core

    kind: Any = core.Connection
    real_init, real_execute, real_connect = kind.__init__, kind._execute, kind._connect  # noqa: SLF001

    def init(self: Any, *positional: Any, **options: Any) -> None:
        real_init(self, *positional, **options)
        if current.get() is not None:
            self._tx = AtOnce()
            self._thread = SimpleNamespace(start=lambda: None, daemon=True)

    async def execute(self: Any, *positional: Any, **options: Any) -> Any:
        await tasks.settle(attributed("aiosqlite"))
        return await real_execute(self, *positional, **options)

    async def connect(self: Any) -> Any:
        await tasks.settle(attributed("aiosqlite.connect"))
        return await real_connect(self)

    with replaced({(kind, "__init__"): init, (kind, "_execute"): execute, (kind, "_connect"): connect}):  # fmt: skip
        yield
