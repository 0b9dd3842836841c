"""What does it cost that much waits? One worker, many waiting runs and schedules: memory, and statements a minute.

    python -m bench.waiting [--runs 100000] [--schedules 1000] [--write]

The server logs every statement; those of this program itself are made on connections whose name is left out. Half of
the runs sleep for a month, half wait for a message. Then all schedules come due at once.
"""

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg

from bench.traffic import RESULTS
from troth import Troth
from troth.schedule import Schedules
from troth.store.embedded import Embedded
from troth.store.migrate import migrate

MARKS = ("<!-- bench.waiting -->", "<!-- end of bench.waiting -->")
IDLE_S = 60.0
AT_ONCE = 1_000
# What a statement is for, by the sentence that it begins with (see the queries.sql of its package).
KINDS = {
    "heartbeats": "One heartbeat",
    "looks for schedules that are due": "In how many seconds this program has something to do",
}

troth = Troth()
schedules = troth.include(Schedules(troth))


@troth.workflow
async def doze(number: int) -> None:
    if number % 2:
        await troth.receive("wake")
    else:
        await troth.sleep(timedelta(days=30))


@troth.workflow
async def report(number: int) -> None:
    pass


class Log:
    """The statements that the server has executed, but for those of this process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0

    def skip(self) -> None:
        self._read = self._file.stat().st_size

    def statements(self) -> Counter[str]:
        with self._file.open("rb") as file:
            file.seek(self._read)
            text = file.read().decode(errors="replace")
        self._read += len(text.encode())
        found: Counter[str] = Counter()
        for said in re.findall(
            r"^worker LOG: +(?:statement|execute [^:]*): (.*)$", text, re.MULTILINE
        ):
            kind = next((kind for kind, sentence in KINDS.items() if sentence in said), "others")
            found[kind] += 1
        return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110  (what is waited for is in the database)
        await asyncio.sleep(0.2)


async def measure(
    url: str, runs: int, count: int, worker: psutil.Process, log: Log
) -> dict[str, Any]:
    figures: dict[str, Any] = {}

    def resident() -> str:
        return f"{worker.memory_info().rss / 1e6:.0f} MB"

    async with troth.client(), await psycopg.AsyncConnection.connect(url, autocommit=True) as tx:

        async def one(query: str) -> Any:
            row = await (await tx.execute(query)).fetchone()
            return row[0] if row else None

        async def rest() -> bool:
            return bool(
                await one(
                    "SELECT count(*) FROM troth.run WHERE state = 'waiting' AND owner IS NULL"
                )
                == runs
            )

        async def fired() -> bool:
            return bool(
                await one("SELECT count(*) FROM troth.run_history WHERE workflow = 'report'")
                == count
            )

        async def worker_is_there() -> bool:
            return bool(await one("SELECT count(*) FROM troth.worker WHERE executes"))

        await until(worker_is_there)
        figures["memory of the worker, empty"] = resident()
        began = time.monotonic()
        for first in range(0, runs, AT_ONCE):
            await asyncio.gather(*(troth.start(doze, n) for n in range(first, first + AT_ONCE)))
        async with tx.transaction():
            for number in range(count):
                await schedules.create(
                    tx, f"s{number}", report, "0 0 1 1 *", args={"number": number}
                )
        await until(rest)
        figures["started, executed until they wait, and let go of"] = (
            f"{runs:,} runs in {time.monotonic() - began:.0f} s"
        )
        figures["memory with all of them waiting"] = resident()
        log.skip()
        await asyncio.sleep(IDLE_S)
        idle = log.statements()
        figures["statements of the worker in an idle minute"] = ", ".join(
            [f"{sum(idle.values())} in all"]
            + [f"{each} {kind}" for kind, each in idle.most_common()]
        )
        log.skip()
        began = time.monotonic()
        await tx.execute("UPDATE troth.schedule SET next_at = now(), look_at = now()")
        await tx.execute("SELECT pg_notify('troth.schedule', '')")
        await until(fired)
        figures[f"{count:,} schedules that come due at once: all fired, and their runs done"] = (
            f"{time.monotonic() - began:.1f} s, {sum(log.statements().values()):,} statements"
        )
        figures["memory after that"] = resident()
    return figures


def written(text: str, figures: dict[str, Any], command: str) -> str:
    """The results with this section in its place."""
    rows = "\n".join(f"| {what} | {value} |" for what, value in figures.items())
    section = f"""{MARKS[0]}
## Much that waits

`{command}`: one worker process. Half of the runs sleep for a month, half wait for a message; the schedules are stored ones.

| | |
|---|---|
{rows}
{MARKS[1]}"""
    if MARKS[0] in text:
        return re.sub(f"{MARKS[0]}.*{MARKS[1]}", lambda _: section, text, flags=re.DOTALL)
    return f"{text.rstrip()}\n\n{section}\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    work = [str(Path(sys.executable).with_name("troth")), "worker", "bench.waiting:troth"]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="troth-bench-"))
        server = stack.enter_context(Embedded.acquire(Path(directory)))
        os.environ["TROTH_DATABASE_URL"] = server.url
        migrate(server.url, troth.schema)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET log_statement = 'all'")
            connection.execute("ALTER SYSTEM SET log_line_prefix = '%a '")
            connection.execute("SELECT pg_reload_conf()")
        workers_log = stack.enter_context((Path(directory) / "workers.log").open("w"))
        worker = stack.enter_context(
            subprocess.Popen(work, stderr=workers_log, env=os.environ | {"PGAPPNAME": "worker"})
        )
        stack.callback(worker.terminate)
        log = Log(Path(directory) / "postgres" / "postgres.log")
        figures = asyncio.run(
            measure(server.url, options.runs, options.schedules, psutil.Process(worker.pid), log)
        )
    for what, value in figures.items():
        print(f"{what}: {value}")
    if options.write:
        command = (
            f"python -m bench.waiting --runs {options.runs} --schedules {options.schedules} --write"
        )
        RESULTS.write_text(written(RESULTS.read_text(), figures, command))


if __name__ == "__main__":
    main()
