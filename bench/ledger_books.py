"""What sealing, verifying and exporting the books cost, by how much there is in them, and how much memory they take.

    python -m bench.ledger_books [10000000] [--write]

Posts so many entries (two for each transfer, batches of 1,000), then seals, verifies and exports all of it, each in a process
of its own. Memory is the most that this process had, and the most that its server process had besides what all share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.ledger import SPREAD, Field, fill
from bench.results import write
from troth.ledger import Ledger, seal
from troth.ledger.export import Format, export, journal_for
from troth.ledger.verify import verify
from troth.store.connect import AsyncConnection, connect_async, pool_async
from troth.store.embedded import Embedded
from troth.store.isolation import transaction_async
from troth.store.migrate import migrate

SCHEMA = "troth"
LOOK_S = 0.02


async def do_seal(connection: AsyncConnection) -> None:
    """As a worker does: block after block, each in a transaction of its own."""
    made: object = True
    while made:
        async with transaction_async(connection, "read committed"):
            made = await seal.seal(connection, SCHEMA)


async def do_verify(connection: AsyncConnection) -> None:
    """All that `troth ledger verify` looks at."""
    async with transaction_async(connection, "repeatable read"):
        report = await verify(connection, SCHEMA)
    assert report.is_sound, report.findings


def do_export(program: Format) -> Callable[[AsyncConnection], Awaitable[None]]:
    """The whole journal of *program*, page by page."""

    async def run(connection: AsyncConnection) -> None:
        async with transaction_async(connection, "repeatable read"):
            async for _ in export(connection, SCHEMA, journal_for(program)):
                pass

    return run


WORK: dict[str, tuple[str, str, Callable[[AsyncConnection], Awaitable[None]]]] = {
    "seal": ("seal", "≥ 50,000 a second", do_seal),
    "verify": ("`troth ledger verify`", "linear", do_verify),
    "hledger": ("export for hledger", "linear", do_export("hledger")),
    "beancount": ("export for Beancount", "linear", do_export("beancount")),
}


@contextmanager
def watched(pid: int) -> Iterator[dict[str, int]]:
    """The most memory of its own that a process has meanwhile, in kilobytes."""
    most = {"kb": 0}
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            found = re.search(r"RssAnon:\s+(\d+)", status)
            most["kb"] = max(most["kb"], int(found[1]) if found else 0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


async def one(name: str, url: str) -> dict[str, float]:
    """Do one of them here, and say what it took."""
    connection = await connect_async(url)
    try:
        with watched(connection.info.backend_pid) as most:
            began = time.perf_counter()
            await WORK[name][2](connection)
            took = time.perf_counter() - began
    finally:
        await connection.close()
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": took, "here_kb": here, "server_kb": most["kb"]}


async def post(url: str, entries: int) -> None:
    """Fill the books."""
    ledger = Ledger()
    ledger.bind(SCHEMA)
    async with pool_async(url, 4, 4) as pool:
        async with pool.connection() as connection:
            for i in range(SPREAD):
                await ledger.accounts.open(connection, f"spread:{i}", currency="EUR", side="credit")
            await ledger.accounts.open(connection, "hot", currency="EUR", side="debit")
        await fill(Field(pool, ledger, url, 0.0), entries)


def table(entries: int, found: dict[str, dict[str, Any]]) -> str:
    transfers = entries // 2
    lines = [
        f"{entries:,} entries of {transfers:,} transfers.\n",
        "| | seconds | transfers per second | aim | MB here | MB of the server |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {WORK[name][0]} | {each['seconds']:.1f} | {transfers / each['seconds']:,.0f} | {WORK[name][1]}"
        f" | {each['here_kb'] / 1024:.0f} | {each['server_kb'] / 1024:.0f} |"
        for name, each in found.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger_books")
    parser.add_argument("entries", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asyncio.run(one(*options.one))))
        return
    with (
        tempfile.TemporaryDirectory(prefix="troth-bench-") as directory,
        Embedded.acquire(Path(directory)) as server,
    ):
        migrate(server.url, SCHEMA)
        asyncio.run(post(server.url, options.entries))
        found: dict[str, dict[str, Any]] = {}
        for name in WORK:
            command = [sys.executable, "-m", "bench.ledger_books", "--one", name, server.url]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found[name] = json.loads(said.stdout)
            print(f"{name}: {found[name]}", file=sys.stderr)
    text = table(options.entries, found)
    print(text)
    if options.write:
        write("bench.ledger_books", text)


if __name__ == "__main__":
    main()
