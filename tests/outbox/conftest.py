"""An outbox in a schema of its own, its relays in this process, and the rows that they leave."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.harness.cell import until
from tests.harness.postgres import wait_until
from troth.outbox import Destination, Outbox
from troth.store.connect import AsyncConnection, connect_async, listen
from troth.worker.relays import Relays


class Desk:
    """One schema: a session to act in, and eyes."""

    def __init__(self, url: str, schema: str, tx: AsyncConnection) -> None:
        self.url, self.schema, self.tx = url, schema, tx

    def outbox(self, *destinations: Destination, name: str = "events") -> Outbox:
        made = Outbox(name, destinations=destinations)
        made.bind(self.schema)
        return made

    async def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        text = sql.SQL(query).format(sql.Identifier(self.schema))  # type: ignore[arg-type]
        cursor = await self.tx.execute(text, params)
        return await cursor.fetchall() if cursor.description else []

    async def states(self) -> dict[str, int]:
        return dict(
            await self.rows("SELECT state::text, count(*) FROM {}.outbox_delivery GROUP BY 1")
        )

    async def until_states(self, **wanted: int) -> None:
        async def there() -> bool:
            return await self.states() == wanted

        await until(there, f"deliveries are {wanted}")

    async def attempts(self) -> list[str]:
        """What came of each attempt, in order."""
        return [
            row[0]
            for row in await self.rows(
                "SELECT outcome FROM {}.outbox_attempt ORDER BY delivery, claim"
            )
        ]

    async def end_leases(self) -> None:
        await self.rows("UPDATE {}.outbox_delivery SET next_at = now() WHERE held = 'leased'")

    @asynccontextmanager
    async def working(self, *outboxes: Outbox, processes: int = 1) -> AsyncIterator[list[Relays]]:
        """Relays as so many processes have them."""
        running = [
            Relays(self.url, [relay for box in outboxes for relay in box.relays])
            for _ in range(processes)
        ]
        for each in running:
            await each.open()
        hears, ear = asyncio.Event(), await connect_async(self.url)

        async def hear() -> None:
            channel = f"{self.schema}.outbox"
            async for _ in listen(ear, [channel], ready=hears.set):
                for each in running:
                    each.heard("outbox")

        hearing = asyncio.create_task(hear())
        await hears.wait()
        try:
            yield running
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            await ear.close()
            await asyncio.gather(*(each.close() for each in running))


@pytest.fixture
async def desk(migrated) -> AsyncIterator[Desk]:
    url, schema = migrated
    async with await connect_async(url) as tx:
        yield Desk(url, schema, tx)


@pytest.fixture(scope="session")
def nats_server() -> str:
    """The server's program; root installs it where it is missing."""
    found = shutil.which("nats-server")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update"], check=False, capture_output=True)
        subprocess.run(
            ["apt-get", "install", "-y", "nats-server"], check=False, capture_output=True
        )
        found = shutil.which("nats-server")
    if found is None:
        pytest.fail("these tests need nats-server: apt-get install nats-server")
    return found


class NatsServer:
    """One with JetStream on a port of its own."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._directory = Path(tempfile.mkdtemp(prefix="troth-nats-"))
        self._child: subprocess.Popen[bytes] | None = None
        self.port = -1
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = self._directory / "log"
        log.unlink(missing_ok=True)
        command = [self._program, "-js", "-a", "127.0.0.1", "-p", str(self.port)]
        self._child = subprocess.Popen(
            [*command, "-sd", str(self._directory / "data"), "-l", str(log)]
        )
        wait_until(
            lambda: log.exists() and "Server is ready" in log.read_text(), "nats-server is ready"
        )
        (line,) = [each for each in log.read_text().splitlines() if "client connections on" in each]
        self.port = int(line.rpartition(":")[2])

    def stop(self) -> None:
        assert self._child is not None
        self._child.terminate()
        self._child.wait()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


@pytest.fixture
def nats_js(nats_server: str) -> Iterator[NatsServer]:
    server = NatsServer(nats_server)
    yield server
    server.remove()
