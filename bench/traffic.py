"""Many runs against a provider that allows 100 requests a second and is away for half a minute.

    python -m bench.traffic [--runs 10000] [--write]

Two worker processes; the provider is a process of its own, which counts what it gets. Beside the runs that call it, others
that do not are started all the time: they must not notice.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg

from troth import Breaker, Call, Outcome, Provider, Rate, Retry, Troth
from troth.store.embedded import Embedded
from troth.store.migrate import migrate

LIMIT, PER_S = 100, 1.0
AWAY_AFTER_S, AWAY_S = 30.0, 30.0
USABLE = PER_S / (
    PER_S + 0.1
)  # of the rate: slots are a tenth longer than they need to be, see limits.py
EVERY_S = 0.05  # how often another run is started beside
RESULTS = Path(__file__).with_name("RESULTS.md")
MARKS = ("<!-- bench.traffic -->", "<!-- end of bench.traffic -->")

troth = Troth()


class TooManyError(Exception):
    """The provider has counted more requests than it allows, and has done nothing."""


def judge(error: BaseException) -> Outcome | None:
    return Outcome.NOT_DONE if isinstance(error, TooManyError) else None


far = Provider(
    "far",
    key_lifetime=timedelta(hours=24),
    rate=Rate(LIMIT, timedelta(seconds=PER_S)),
    breaker=Breaker(failures=10, pause=timedelta(seconds=3)),
    judge=judge,
)


@troth.effect(provider=far, timeout=10, retry=Retry(attempts=100, longest=timedelta(seconds=10)))
async def call_far(call: Call, number: int) -> int:  # noqa: ARG001
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["BENCH_PORT"]))
    try:
        writer.write(b"%d\n" % number)
        answer = await reader.readline()
    finally:
        writer.close()
    if not answer:
        raise ConnectionResetError
    if answer == b"busy\n":
        raise TooManyError
    return int(answer)


@troth.step
async def near(number: int) -> int:
    return number


@troth.workflow
async def limited(number: int) -> int:
    return await call_far(number)


@troth.workflow
async def unlimited(number: int) -> int:
    return await near(number)


# ── the provider ────────────────────────────────────────────────────────────────────────────────


async def provider(port: int) -> None:
    """Counts, in every sliding second, and goes away once."""
    recent: deque[float] = deque()
    begun = asyncio.Event()
    stats = {"requests": 0, "above the limit": 0, "most in a second": 0}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line == b"stats\n":
            writer.write(json.dumps(stats).encode() + b"\n")
        else:
            begun.set()
            now = time.monotonic()
            while recent and recent[0] <= now - PER_S:
                recent.popleft()
            stats["requests"] += 1
            if len(recent) >= LIMIT:
                stats["above the limit"] += 1
                writer.write(b"busy\n")
            else:
                recent.append(now)
                stats["most in a second"] = max(stats["most in a second"], len(recent))
                writer.write(line)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1000)
    print("ready", flush=True)
    await begun.wait()
    await asyncio.sleep(AWAY_AFTER_S)
    server.close()
    await asyncio.sleep(AWAY_S)
    await asyncio.start_server(serve, "127.0.0.1", port, backlog=1000)
    await asyncio.Event().wait()


async def stats_of(port: int) -> dict[str, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"stats\n")
    answer: dict[str, int] = json.loads(await reader.readline())
    writer.close()
    return answer


# ── the measurement ─────────────────────────────────────────────────────────────────────────────


async def beside(seconds: float) -> None:
    """Start runs of the other workflow at fixed times, in a process of its own; say when each began and what it took."""
    took: list[tuple[float, float]] = []

    async def one(number: int) -> None:
        begun = time.time()
        await (await troth.start(unlimited, number)).result(60)
        took.append((begun, time.time() - begun))

    async with troth.client(), asyncio.TaskGroup() as group:
        first = time.monotonic()
        for number in range(int(seconds / EVERY_S)):
            await asyncio.sleep(max(0.0, first + number * EVERY_S - time.monotonic()))
            group.create_task(one(number))
    print(json.dumps(took))


async def latencies(seconds: float) -> list[tuple[float, float]]:
    command = [sys.executable, "-m", "bench.traffic", f"--beside={seconds}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    told, _ = await process.communicate()
    found: list[tuple[float, float]] = json.loads(told)
    return found


async def watch(pids: list[int], peak: dict[str, float], stop: asyncio.Event) -> None:
    while not stop.is_set():
        families = [[p, *p.children(recursive=True)] for p in map(psutil.Process, pids)]
        sizes = [one.memory_info().rss for family in families for one in family if one.is_running()]
        peak["MB"] = max(peak["MB"], max(sizes, default=0) / 2**20)
        await asyncio.sleep(0.5)


async def measure(runs: int, port: int, pids: list[int]) -> dict[str, Any]:
    least_s = runs / (LIMIT * USABLE) + AWAY_S
    async with troth.client():
        await (await troth.start(unlimited, 0)).result(60)  # the workers are there
        peak = {"MB": 0.0}
        watching = asyncio.create_task(watch(pids, peak, asyncio.Event()))
        before = await latencies(10)
        idle_mb = peak["MB"]
        others = asyncio.create_task(latencies(least_s))
        begun, begun_at = time.monotonic(), time.time()
        started = await asyncio.gather(*(troth.start(limited, n) for n in range(runs)))
        results = await asyncio.gather(*(run.result(1200) for run in started))
        took_s = time.monotonic() - begun
        during = await others
        watching.cancel()
        assert results == list(range(runs))
    stats = await stats_of(port)
    away = (begun_at + AWAY_AFTER_S, begun_at + AWAY_AFTER_S + AWAY_S)
    while_away = [took for at, took in during if away[0] <= at < away[1]]
    while_up = [took for at, took in during if not away[0] <= at < away[1]]
    return {
        "runs, all finished": f"{runs:,}",
        "requests": f"{stats['requests']:,}",
        "requests above the limit": stats["above the limit"],
        "most requests in any second": f"{stats['most in a second']} of {LIMIT}",
        "time until all had finished": f"{took_s:.0f} s (at {LIMIT * USABLE:.0f}/s and with the pause: {least_s:.0f} s)",
        "peak memory of a worker": f"{peak['MB']:.0f} MB (before: {idle_mb:.0f} MB)",
        "updates of the provider's row": f"{updates():,}",
        "another workflow, start to result: before": summary([took for _, took in before]),
        "the same, while the provider is called": summary(while_up),
        "the same, while it is away": summary(while_away),
    }


def summary(took: list[float]) -> str:
    """Median and 99th percentile."""
    p99 = statistics.quantiles(took, n=100)[98]
    return f"median {statistics.median(took) * 1000:.1f} ms, p99 {p99 * 1000:.0f} ms ({len(took)} runs)"


def updates() -> int:
    """How often the row that all workers share was written."""
    with psycopg.connect(os.environ["TROTH_DATABASE_URL"]) as connection:
        row = connection.execute(
            "SELECT n_tup_upd FROM pg_stat_user_tables WHERE schemaname = %s AND relname = 'provider'",
            (troth.schema,),
        ).fetchone()
    assert row is not None
    return int(row[0])


def written(text: str, figures: dict[str, Any], command: str) -> str:
    """The results with this section in its place."""
    rows = "\n".join(f"| {what} | {value} |" for what, value in figures.items())
    section = f"""{MARKS[0]}
## A provider that is limited, and away

`{command}`: 2 worker processes, a provider that allows {LIMIT} requests a second and is away for {AWAY_S:.0f} s.

| | |
|---|---|
{rows}
{MARKS[1]}"""
    if MARKS[0] in text:
        return re.sub(f"{MARKS[0]}.*{MARKS[1]}", lambda _: section, text, flags=re.DOTALL)
    return f"{text.rstrip()}\n\n{section}\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--port", type=int, default=18_111)
    parser.add_argument("--provider", action="store_true", help="be the provider")
    parser.add_argument("--beside", type=float, help="start the other workflow for so many seconds")
    options = parser.parse_args()
    if options.beside:
        asyncio.run(beside(options.beside))
        return
    if options.provider:
        asyncio.run(provider(options.port))
        return
    os.environ["BENCH_PORT"] = str(options.port)
    here = [sys.executable, "-m", "bench.traffic", "--provider", f"--port={options.port}"]
    work = [str(Path(sys.executable).with_name("troth")), "worker", "bench.traffic:troth"]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="troth-bench-"))
        server = stack.enter_context(Embedded.acquire(Path(directory)))
        os.environ["TROTH_DATABASE_URL"] = server.url
        migrate(server.url, troth.schema)
        far_process = stack.enter_context(subprocess.Popen(here, stdout=subprocess.PIPE, text=True))
        stack.callback(far_process.kill)
        assert far_process.stdout is not None
        far_process.stdout.readline()
        log = stack.enter_context((Path(directory) / "workers.log").open("w"))
        workers = [stack.enter_context(subprocess.Popen(work, stderr=log)) for _ in range(2)]
        for worker in workers:
            stack.callback(worker.terminate)
        figures = asyncio.run(measure(options.runs, options.port, [w.pid for w in workers]))
    for what, value in figures.items():
        print(f"{what}: {value}")
    if options.write:
        command = f"python -m bench.traffic --runs {options.runs} --write"
        RESULTS.write_text(written(RESULTS.read_text(), figures, command))


if __name__ == "__main__":
    main()
