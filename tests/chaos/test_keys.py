"""The same key, started by many clients in many processes at the same instant."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from tests.chaos.processes import Site, site
from tests.harness.postgres import PrivateServer
from troth.store.migrate import migrate

PROCESSES = 5
CLIENTS = 10


@pytest.fixture
def wide_shop(server: PrivateServer) -> Iterator[Site]:
    """A site whose server has room for fifty clients with their connections."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_connections = 400")
    server.restart()
    migrate(server.url, "troth")
    with site(server.url, "troth") as made:
        yield made


@pytest.mark.slow
async def test_fifty_clients_start_one_run(wide_shop: Site) -> None:
    shop = wide_shop
    crowd = [shop.clients(CLIENTS) for _ in range(PROCESSES)]
    for process in crowd:
        assert await asyncio.to_thread(process.says) == "ready"
    for process in crowd:
        process.tell("go")
    answers = [answer for process in crowd for answer in await asyncio.to_thread(process.says)]
    assert len(answers) == PROCESSES * CLIENTS

    # One run, and everybody was told of that one.
    [(run_id, owner)] = shop.rows("SELECT id::text, input FROM {s}.run")
    assert {answer["run"] for answer in answers} == {run_id}

    # Whoever came first decides what the key means; the others were told the difference.
    first = 8 if b"8" in bytes(owner) else 7
    for answer in answers:
        wanted = 8 if answer["other"] else 7
        if wanted == first:
            assert answer["conflict"] is None
        else:
            assert f"n: {first} then, {wanted} now" in answer["conflict"]

    await asyncio.to_thread(shop.worker)
    await asyncio.to_thread(shop.wait_ended, 1)
    assert shop.rows("SELECT n, count(*) FROM reservation GROUP BY n") == [(first, 1)]
    assert len(shop.witness()) == 1


async def test_the_key_stays_taken_when_its_run_has_ended(shop: Site) -> None:
    await asyncio.to_thread(shop.worker)
    program = shop.program()
    async with program.troth.client() as troth:
        first = await troth.start(program.order, 7, key="one")
        await first.result(timeout=20)
        again = await troth.start(program.order, 7, key="one")
        assert again.id == first.id
        assert await again.result(timeout=20) == await first.result(timeout=20)
    crowd = await asyncio.to_thread(shop.clients, 5)
    assert await asyncio.to_thread(crowd.says) == "ready"
    crowd.tell("go")
    answers = await asyncio.to_thread(crowd.says)
    assert {answer["run"] for answer in answers} == {str(first.id)}
    assert [answer["conflict"] is not None for answer in answers] == [False] * 4 + [True]
    assert shop.ended() == 1
