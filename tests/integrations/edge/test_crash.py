"""A crash between commit and response costs nothing; real processes, really killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.harness.cell import until

ROOT = Path(__file__).parents[3]
HEADERS = {"idempotency-key": "k-1"}


class Served:
    def __init__(self, place: tuple[str, str], socket: Path) -> None:
        self.url, self.schema = place
        self.socket = socket

    @asynccontextmanager
    async def process(self, **env: str) -> AsyncIterator[subprocess.Popen[bytes]]:
        self.socket.unlink(missing_ok=True)
        process = subprocess.Popen(  # noqa: ASYNC220  (returns at once)
            [sys.executable, "-m", "tests.integrations.edge.program"],
            cwd=ROOT,
            env={
                **os.environ,
                "TROTH_DATABASE_URL": self.url,
                "SHOP_SCHEMA": self.schema,
                "SHOP_SOCKET": str(self.socket),
                **env,
            },
        )
        try:

            async def listens() -> bool:
                assert process.poll() is None
                try:
                    _, writer = await asyncio.open_unix_connection(self.socket)
                except OSError:
                    return False
                writer.close()
                return True

            await until(listens, "the server listens")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    @property
    def things(self) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(f"SELECT count(*) FROM {self.schema}.thing").fetchone()
            assert row is not None
            return int(row[0])

    async def post(self, times: int) -> Counter[str]:
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:

            async def once() -> str:
                try:
                    answer = await http.post(
                        "/things", json={"name": "ada"}, headers=HEADERS, timeout=30
                    )
                except httpx.TransportError:
                    return "lost"
                replayed = answer.headers.get("idempotent-replayed")
                return f"{answer.status_code}{' replayed' if replayed else ''}"

            return Counter(await asyncio.gather(*[once() for _ in range(times)]))


@pytest.fixture
def served(place: tuple[str, str], tmp_path: Path) -> Served:
    with psycopg.connect(place[0], autocommit=True) as connection:
        connection.execute(f"TRUNCATE {place[1]}.request, {place[1]}.thing")
    return Served(place, tmp_path / "socket")


async def test_a_hundred_at_once_are_one_effect_and_ninety_nine_replays_or_conflicts(served):
    async with served.process():
        answers = await served.post(100)
    assert answers["201"] == 1
    assert answers["201 replayed"] + answers["409"] == 99
    assert served.things == 1


async def test_a_hundred_at_once_whose_server_is_killed_after_the_commit(served):
    async with served.process(DIE="1") as doomed:
        answers = await served.post(100)
        assert doomed.wait(20) == -signal.SIGKILL
    # Some were answered before it died: that somebody else is at work, and nothing else.
    assert answers["201"] == answers["201 replayed"] == 0
    assert answers["lost"] + answers["409"] == 100
    assert served.things == 1
    async with served.process():
        assert await served.post(100) == {"201 replayed": 100}
    assert served.things == 1
