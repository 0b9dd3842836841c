"""The shop of the page on requests: its own process, a worker beside it, a person who clicks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg

from tests.harness.cell import until
from tests.harness.postgres import create_database
from troth.store.migrate import migrate

ROOT = Path(__file__).parents[2]
ORDER = {"article": "lamp", "cents": 4900}


def started(url: str, *command: str) -> subprocess.Popen[bytes]:
    programs = Path(sys.executable)
    return subprocess.Popen(
        [str(programs.with_name(command[0])), *command[1:]],
        cwd=ROOT,
        env={**os.environ, "TROTH_DATABASE_URL": url},
    )


async def test_three_clicks_are_one_order(database_url: str, tmp_path: Path) -> None:
    url = create_database(database_url, "requests_example")
    migrate(url, "troth")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (article text)")
        connection.execute("CREATE TABLE questions (text text)")
    socket = str(tmp_path / "socket")
    processes = [
        started(
            url, "uvicorn", "examples.requests.app:app", "--uds", socket, "--log-level=warning"
        ),
        started(url, "troth", "worker", "examples.requests.app:troth"),
    ]
    try:
        transport = httpx.AsyncHTTPTransport(uds=socket)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:

            async def answers() -> bool:
                try:
                    return (await http.get("/openapi.json")).status_code == 200
                except httpx.TransportError:
                    return False

            async def click(**order: object) -> httpx.Response:
                headers = {"idempotency-key": '"basket-7"'}
                return await http.post(
                    "/orders", json={**ORDER, **order}, headers=headers, timeout=30
                )

            await until(answers, "the shop is open")
            clicks = await asyncio.gather(*[click() for _ in range(3)])
            assert {answer.status_code for answer in clicks} <= {200, 202, 409}

            async def paid() -> httpx.Response | None:
                answer = await click()
                return answer if answer.status_code == 200 else None

            receipt = await until(paid, "the order is paid")
            assert receipt is not None
            assert receipt.json() == {"paid_by": "charge-of-4900"}
            other = await click(cents=5000)
            assert (other.status_code, other.json()["differs"]) == (422, ["body.cents"])
            for _ in range(2):
                await http.post("/questions", params={"text": "when?"})
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM questions").fetchone() == (2,)
