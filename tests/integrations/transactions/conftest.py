"""One journal, one source of each kind on its database, and a workflow of one transaction step."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.harness.cell import Cell, open_cell
from tests.integrations.transactions.sources import KINDS, Kind
from troth import Troth
from troth.store.tx import BlockingTx, Tx

Body = Callable[..., Any]


class Bench:
    """*troth* and a table `item (id, n)`; `step` makes a transaction step of a generator of statements."""

    def __init__(self, kind: Kind, cell: Cell, stack: AsyncExitStack) -> None:
        self.kind = kind
        self.cell = cell
        self._stack = stack
        self.item = f"{cell.schema}.item"

    async def source(self, url: str | None = None, size: int = 5) -> Any:
        """A source of this kind."""
        return await self._stack.enter_async_context(self.kind.make(url or self.cell.url, size))

    def troth(self, url: str | None = None) -> Troth:
        """A program. troth's own source is reached through it, so it takes the URL of a proxy."""
        through = url if self.kind.name.startswith("own") else None
        return Troth(through or self.cell.url, schema=self.cell.schema)

    def step(self, troth: Troth, source: Any, body: Body, **options: Any) -> Any:
        """*body(say, handle)* is a generator-like function: `say(sql)` gives the first row.

        It is written once: as a coroutine function that awaits `say`, whatever kind of step it becomes.
        """
        kind = self.kind
        via = {} if source is None else {"via": source}
        handle_type = Tx if kind.is_async else BlockingTx

        if kind.is_async:

            async def work(handle: Any) -> int:
                async def say(query: str) -> Any:
                    return await kind.execute(handle, query)

                return int(await body(say, handle))

        else:

            def work(handle: Any) -> int:  # type: ignore[misc]
                async def say(query: str) -> Any:
                    return kind.execute(handle, query)

                return int(_run(body(say, handle)))

        work.__annotations__["handle"] = handle_type if source is None else Any
        work.__name__ = "work"
        return troth.transaction(**via, **options)(work)

    async def execute(self, handle: Any, query: str) -> None:
        """Use a handle, outside a step."""
        done = self.kind.execute(handle, query)
        if inspect.isawaitable(done):
            await done

    async def end(self, what: str, handle: Any) -> None:
        """End the transaction with what the library offers for it."""
        done = getattr(self.kind, what)(handle, "")
        if inspect.isawaitable(done):
            await done

    @staticmethod
    def flow(troth: Troth, step: Any) -> Any:
        @troth.workflow
        async def flow() -> int:
            return int(await step())

        return flow

    async def items(self) -> list[int]:
        return [n for (n,) in await self.cell.rows("SELECT n FROM {}.item ORDER BY n")]

    async def entries(self) -> int:
        done = "SELECT count(*) FROM {}.journal WHERE kind = 2 AND ok AND path = 'work'"
        return int(await self.cell.value(done))


def _run(coroutine: Any) -> Any:
    """Run a coroutine that awaits nothing that would wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


# What differs between sessions and connections of SQLAlchemy is small: both are in `make soak`.
_PARAMS = [
    pytest.param(kind, marks=[pytest.mark.slow] if "connection" in kind.name else [], id=kind.name)
    for kind in KINDS
]


@pytest.fixture(params=_PARAMS)
async def bench(request: pytest.FixtureRequest, migrated: tuple[str, str]) -> AsyncIterator[Bench]:
    async with open_cell(*migrated) as cell, AsyncExitStack() as stack:
        await cell.rows("CREATE TABLE {}.item (id serial PRIMARY KEY, n int NOT NULL)")
        yield Bench(request.param, cell, stack)
