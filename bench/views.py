"""
How long does each screen take when there is very much of everything? On a schema with years of rows (bench/population.py).

    python -m bench.views 10 [--write] [--keep DIRECTORY]

The first argument: finished runs, in millions. With --keep, the database stays in that directory and is filled once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.population import SCHEMA, Size, filled
from bench.results import write
from troth.inbox.model import State as EventState
from troth.journal.model import Reason, RunState
from troth.outbox.model import State as DeliveryState
from troth.store.connect import AsyncConnection, connect_async
from troth.view import (
    acts,
    attention,
    decisions,
    health,
    inbox,
    jump,
    machines,
    outbox,
    overview,
    providers,
    pulse,
    requests,
    run,
    runs,
    schedules,
    workers,
)
from troth.view.filters import Since
from troth.view.store import reading

LIMIT_MS = 300
Look = Callable[[Any], Awaitable[Any]]


LONG = """
SELECT r.id FROM troth.run r
WHERE EXISTS (SELECT 1 FROM troth.journal j WHERE j.run_id = r.id AND j.path = 'step#2' AND j.kind = 2 AND j.attempt = 0)
"""


async def looks(tx: Any, long: Any) -> dict[str, Look]:
    """Every screen, by its name and what is asked of it. *long*: the run with many entries."""
    big = (await runs.runs(tx, SCHEMA, runs.RunFilter(states=frozenset({RunState.WAITING}))))[0].id
    head = await run.detail(tx, SCHEMA, long)
    message = (await outbox.deliveries(tx, SCHEMA)).rows[0].message
    record = (await requests.requests(tx, SCHEMA)).rows[0].id
    decided = (await decisions.decisions(tx, SCHEMA)).rows[0].id
    return {
        "overview": lambda tx: overview.overview(tx, SCHEMA),
        "overview, chart of an hour": lambda tx: overview.minutes(tx, SCHEMA),
        "overview, chart of two days": lambda tx: overview.minutes(
            tx, SCHEMA, overview.Span.TWO_DAYS
        ),
        "attention": lambda tx: attention.attention(tx, SCHEMA),
        "attention, counts by reason": lambda tx: attention.reasons(tx, SCHEMA),
        "attention, a reason and an owner": lambda tx: attention.attention(
            tx,
            SCHEMA,
            attention.AttentionFilter(reasons=frozenset({Reason.IN_DOUBT}), owner="ada"),
        ),
        "attention, what nobody is in": lambda tx: attention.attention(
            tx, SCHEMA, attention.AttentionFilter(reasons=frozenset({Reason.POISON}))
        ),
        "runs": lambda tx: runs.page(tx, SCHEMA, runs.RunFilter()),
        "runs, failed ones of a workflow": lambda tx: runs.page(
            tx, SCHEMA, runs.RunFilter(states=frozenset({RunState.FAILED}), workflow="flow2")
        ),
        "runs, of a workflow that is not": lambda tx: runs.page(
            tx, SCHEMA, runs.RunFilter(workflow="none")
        ),
        "runs, by key": lambda tx: runs.page(tx, SCHEMA, runs.RunFilter(key="order:770000")),
        "runs, of the last hour": lambda tx: runs.page(
            tx, SCHEMA, runs.RunFilter(since=Since("1h"))
        ),
        "runs, how many match": lambda tx: runs.count(tx, SCHEMA, runs.RunFilter()),
        "one run": lambda tx: run.detail(tx, SCHEMA, big),
        "one run of 50,000 entries: journal": lambda tx: run.journal_page(tx, SCHEMA, long),
        "one run of 50,000 entries: journal, from its end": lambda tx: run.journal_page(
            tx, SCHEMA, long, back=True
        ),
        "one run of 50,000 entries: steps": lambda tx: run.step_page(
            tx, SCHEMA, long, head.header.line.starts_at
        ),
        "requests": lambda tx: requests.requests(tx, SCHEMA),
        "requests, by key": lambda tx: requests.requests(
            tx, SCHEMA, requests.RequestFilter(key="key-77777")
        ),
        "requests, of nobody": lambda tx: requests.requests(
            tx, SCHEMA, requests.RequestFilter(caller="nobody")
        ),
        "one request": lambda tx: requests.request(tx, SCHEMA, record, payloads=True),
        "inbox, sources": lambda tx: inbox.sources(tx, SCHEMA),
        "inbox, events": lambda tx: inbox.events(tx, SCHEMA),
        "inbox, quarantined": lambda tx: inbox.events(
            tx, SCHEMA, inbox.InboxFilter(states=frozenset({EventState.QUARANTINED}))
        ),
        "inbox, of a type that is not": lambda tx: inbox.events(
            tx, SCHEMA, inbox.InboxFilter(type="none")
        ),
        "one event": lambda tx: inbox.event(tx, SCHEMA, "github", "evt_1", payloads=True),
        "outbox, lag": lambda tx: outbox.lag(tx, SCHEMA),
        "outbox, deliveries": lambda tx: outbox.deliveries(tx, SCHEMA),
        "outbox, dead letters": lambda tx: outbox.deliveries(
            tx, SCHEMA, outbox.OutboxFilter(states=outbox.FAILED)
        ),
        "outbox, dropped ones": lambda tx: outbox.deliveries(
            tx, SCHEMA, outbox.OutboxFilter(states=frozenset({DeliveryState.DROPPED}))
        ),
        "outbox, endpoints": lambda tx: outbox.endpoints(tx, SCHEMA),
        "one message": lambda tx: outbox.message(tx, SCHEMA, message, payloads=True),
        "machines, counts": lambda tx: machines.machines(tx, SCHEMA),
        "machines, objects in a state": lambda tx: machines.objects(
            tx, SCHEMA, "order", machines.ObjectFilter("packed")
        ),
        "one object": lambda tx: machines.machine_object(tx, SCHEMA, "order", "o2"),
        "workers": lambda tx: workers.workers(tx, SCHEMA),
        "decisions": lambda tx: decisions.decisions(tx, SCHEMA),
        "decisions, of a principal": lambda tx: decisions.decisions(
            tx, SCHEMA, decisions.DecisionFilter(principal="p77")
        ),
        "decisions, of a resource that is not": lambda tx: decisions.decisions(
            tx, SCHEMA, decisions.DecisionFilter(resource="none")
        ),
        "one decision": lambda tx: decisions.decision(tx, SCHEMA, decided, payloads=True),
        "schedules": lambda tx: schedules.schedules(tx, SCHEMA),
        "one schedule": lambda tx: schedules.schedule(tx, SCHEMA, "schedule-77"),
        "providers": lambda tx: providers.providers(tx, SCHEMA),
        "audit": lambda tx: acts.acts(tx, SCHEMA),
        "health": lambda tx: health.health(tx, SCHEMA),
        "jump, to an id": lambda tx: jump.jump(tx, SCHEMA, str(big)),
        "jump, to a key": lambda tx: jump.jump(tx, SCHEMA, "key-77777"),
        "jump, to nothing": lambda tx: jump.jump(tx, SCHEMA, "there is no such thing"),
        "is there anything new? (runs)": lambda tx: pulse.pulse(tx, SCHEMA, "runs"),
    }


async def timed(connection: AsyncConnection, look: Look) -> float:
    """One look, in milliseconds: BEGIN, what bounds it, the statements, their rows as values, COMMIT."""
    before = time.perf_counter()
    async with reading(connection, SCHEMA) as tx:
        await look(tx)
    return (time.perf_counter() - before) * 1000


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds: the first look of a new connection, the median and the worst of the others; the server's own work."""

    first: float
    median: float
    worst: float
    cpu: float


async def measure(url: str, rounds: int) -> dict[str, Took]:
    async with await connect_async(url) as connection:
        row = await (await connection.execute(LONG)).fetchone()
        assert row is not None
        async with reading(connection, SCHEMA) as tx:
            names = await looks(tx, row[0])
    found = {}
    for name, look in names.items():
        async with await connect_async(url) as connection:
            first = await timed(connection, look)
            backend = psutil.Process(connection.info.backend_pid)
            before = backend.cpu_times()
            others = [await timed(connection, look) for _ in range(rounds)]
            after = backend.cpu_times()
            cpu_s = after.user + after.system - before.user - before.system
        found[name] = Took(first, statistics.median(others), max(others), cpu_s * 1000 / rounds)
    return found


def render(found: dict[str, Took], size: Size, millions: float, rounds: int) -> str:
    head = (
        f"`python -m bench.views {millions:g} --write`: {size.finished:,} finished runs and {size.live:,} live ones,"
        f" {size.attention:,} of these in attention; {size.outbox:,} deliveries, {size.inbox:,} events,"
        f" {size.requests:,} requests, {size.decisions:,} decisions, {size.objects:,} objects. Each look is a transaction of"
        f" its own, with all its statements, and its rows made into values, in milliseconds, {rounds} times. *first*: on a"
        " new connection, nothing prepared, and little in memory. *server*: the processor time that the server's process"
        f" took for one look in the mean. {os.cpu_count()} cores, load average {os.getloadavg()[0]:.0f}: where others work at"
        " the same time, the first three are longer than they would be alone, and the last one says what a look costs."
    )
    lines = ["## Screens, when there is very much", "", head, ""]
    lines += ["| screen | first | median | worst | server |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {each.first:.1f} | {each.median:.1f} | {each.worst:.1f} | {each.cpu:.1f} |"
        for name, each in found.items()
    ]
    slow = [name for name, each in found.items() if each.median > LIMIT_MS]
    quick = sum(each.median < 50 for each in found.values())
    cheap = sum(each.cpu < 50 for each in found.values())
    worst = f"over {LIMIT_MS} ms: {'; '.join(slow)}" if slow else f"none over {LIMIT_MS} ms"
    lines += [
        "",
        f"Of {len(found)} looks {quick} are under 50 ms in the median ({cheap} in processor time), and {worst}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("millions", type=float, nargs="?", default=10.0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with filled(arguments.millions, arguments.keep) as (url, size):
        found = asyncio.run(measure(url, arguments.rounds))
    table = render(found, size, arguments.millions, arguments.rounds)
    print(table)
    if arguments.write:
        write("bench.views", table)


if __name__ == "__main__":
    main()
