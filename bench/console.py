"""
How long does each page of the console take when there is very much of everything? On the schema of bench/population.py,
through the whole application: what is asked, the snapshot, the template, the bytes; all but the network.

    python -m bench.console 10 [--write] [--keep DIRECTORY]

The first argument: finished runs, in millions. With --keep, the database stays in that directory and is filled once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg

from bench.population import SCHEMA, Size, filled
from bench.results import write
from troth import Troth
from troth.console import Console, Operator, Role
from troth.machine import Machine, Transition

LIMIT_MS = 300
ORDER = Machine(
    "order",
    initial="created",
    final={"closed"},
    transitions=[
        Transition("pay", "created", "paid"),
        Transition("pack", "paid", "packed"),
        Transition("ship", "packed", "shipped"),
        Transition("return", "shipped", "returned"),
        Transition("close", "shipped", "closed"),
        Transition("close", "returned", "closed"),
    ],
)
FOUND = {
    "doubtful": "SELECT id FROM {0}.run WHERE reason = 'in_doubt' ORDER BY id DESC LIMIT 1",
    "ended": "SELECT id FROM {0}.run_history ORDER BY id DESC LIMIT 1",
    "long": "SELECT run_id FROM {0}.journal WHERE path = 'step#2' AND kind = 2 AND attempt = 0 LIMIT 1",
    "record": "SELECT encode(id, 'hex') FROM {0}.request ORDER BY at DESC, id DESC LIMIT 1",
    "message": "SELECT message FROM {0}.outbox_delivery WHERE state = 'dead' ORDER BY id DESC LIMIT 1",
    "endpoint": "SELECT id FROM {0}.outbox_endpoint ORDER BY id DESC LIMIT 1",
    "break": "SELECT id FROM {0}.reconcile_break WHERE state = 'open' ORDER BY id DESC LIMIT 1",
    "decided": "SELECT id FROM {0}.decision ORDER BY id DESC LIMIT 1",
}


@dataclass(frozen=True, slots=True)
class Look:
    """A page as it is asked for. *screen*: the name of its `Page`."""

    screen: str
    what: str
    path: str


def ids_of(url: str, schema: str) -> dict[str, str]:
    """What the pages of one thing are asked about."""
    with psycopg.connect(url) as connection:
        found = {}
        for name, query in FOUND.items():
            row = connection.execute(query.format(schema)).fetchone()  # type: ignore[call-overload]
            assert row is not None, name
            found[name] = str(row[0])
    return found


def looks(ids: Mapping[str, str]) -> list[Look]:
    """Every screen, as it opens and as it is most expensive."""
    long, doubtful = ids["long"], ids["doubtful"]
    return [
        Look("overview", "overview", "/overview"),
        Look("overview", "overview, charts of two days", "/overview?span=48h"),
        Look("attention", "attention", "/attention"),
        Look("attention", "attention, a reason that nobody is in", "/attention?reason=poison"),
        Look("effects", "effects to settle", "/effects"),
        Look("effects", "effects to settle, of an owner", "/effects?owner=ada"),
        Look("effect", "one effect", f"/effects/{doubtful}"),
        Look("runs", "runs", "/runs"),
        Look("runs", "runs, failed ones of a workflow", "/runs?state=failed&workflow=flow2"),
        Look("runs", "runs, of a workflow that is not", "/runs?workflow=none"),
        Look("runs", "runs, by key", "/runs?key=order:770000"),
        Look("run", "one run", f"/runs/{doubtful}"),
        Look("run", "one run that has ended", f"/runs/{ids['ended']}"),
        Look("run", "one run of 50,000 steps", f"/runs/{long}"),
        Look("run", "one run of 50,000 steps: timeline", f"/runs/{long}?view=timeline"),
        Look("run", "one run of 50,000 steps: journal", f"/runs/{long}?view=journal"),
        Look("run", "one run of 50,000 steps: the latest", f"/runs/{long}?view=journal&order=latest"),
        Look("requests", "requests", "/requests"),
        Look("requests", "requests, of nobody", "/requests?caller=nobody"),
        Look("request", "one request", f"/requests/{ids['record']}"),
        Look("inbox", "inbox", "/inbox"),
        Look("inbox", "inbox, of a type that is not", "/inbox?type=none"),
        Look("event", "one event", "/inbox/event?source=github&event=evt_1"),
        Look("outbox", "outbox", "/outbox"),
        Look("outbox", "outbox, dead letters", "/outbox?state=dead"),
        Look("outbox", "outbox, of an endpoint", f"/outbox?endpoint={ids['endpoint']}"),
        Look("endpoints", "endpoints", "/outbox/endpoints"),
        Look("message", "one message", f"/outbox/messages/{ids['message']}"),
        Look("ledger", "ledger", "/ledger"),
        Look("ledger", "ledger, a place of the tree", "/ledger?under=wallets"),
        Look("account", "one account", "/ledger/account?code=wallets:w7"),
        Look("account", "one account, in each transfer", "/ledger/account?code=assets:bank"),
        Look("machines", "machines", "/machines"),
        Look("machine", "one machine, drawn", "/machines/machine?machine=order"),
        Look("machine", "one machine, objects in a state", "/machines/machine?machine=order&state=packed"),
        Look("machine_object", "one object", "/machines/object?machine=order&id=o2"),
        Look("schedules", "schedules", "/schedules"),
        Look("schedule", "one schedule", "/schedule?name=schedule-77"),
        Look("reconcile", "reconciliation", "/reconcile"),
        Look("reconcile", "reconciliation, of a kind that is not there", "/reconcile?kind=currency"),
        Look("break", "one break", f"/break?number={ids['break']}"),
        Look("workers", "workers", "/workers"),
        Look("providers", "providers", "/providers"),
        Look("decisions", "access decisions", "/decisions"),
        Look("decisions", "access decisions, of a principal", "/decisions?principal=p77"),
        Look("decisions", "access decisions, of a resource that is not", "/decisions?resource=none"),
        Look("decision", "one access decision", f"/decisions/{ids['decided']}"),
        Look("audit", "audit", "/audit"),
        Look("audit", "audit, of nobody", "/audit?by=nobody"),
        Look("waiting", "waiting for a second person", "/audit/waiting"),
        Look("rules", "who may do what", "/audit/rules"),
        Look("health", "health", "/health"),
        Look("health", "health, examined", "/health?doctor=true"),
        Look("jump", "jump, to a key", "/jump?q=key-77777"),
        Look("jump", "jump, to nothing", "/jump?q=there+is+no+such+thing"),
        Look("act", "a form: all that match", "/act/run.cancel?where=workflow%3Dflow2"),
    ]  # fmt: skip


def console_of(url: str, schema: str) -> Console:
    """The console of a program that knows the machine."""
    troth = Troth(url, schema=schema)
    troth.include(ORDER)
    return Console(troth, identify=lambda _: Operator("ada", Role.OPERATOR))


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds: the first look, the median and the worst of the others; processor time. *kb*: of the page."""

    first: float
    median: float
    worst: float
    cpu: float
    kb: float


async def timed(http: httpx2.AsyncClient, look: Look) -> tuple[float, int]:
    """One page, in milliseconds, and its length. A page that tells of a problem is none."""
    before = time.perf_counter()
    answer = await http.get(look.path)
    took = (time.perf_counter() - before) * 1000
    assert answer.status_code in {200, 303} or look.screen == "jump", (look, answer.text)
    return took, len(answer.content)


async def measure(url: str, rounds: int) -> dict[str, Took]:
    """Each page, one after another, as one person turns them."""
    found: dict[str, Took] = {}
    console = console_of(url, SCHEMA)
    transport = httpx2.ASGITransport(app=console)
    async with console.open(), httpx2.AsyncClient(transport=transport, base_url="http://b") as http:
        await http.get("/audit/rules")  # templates and connections are there
        for look in looks(ids_of(url, SCHEMA)):
            first, length = await timed(http, look)
            before = processor_s(url)
            others = [(await timed(http, look))[0] for _ in range(rounds)]
            cpu = (processor_s(url) - before) * 1000 / rounds
            median = statistics.median(others)
            found[look.what] = Took(first, median, max(others), cpu, length / 1000)
    return found


def processor_s(url: str) -> float:
    """What this process and the server's processes of its sessions have taken, in seconds."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return sum(_taken_s(pid) for pid in [os.getpid(), *(pid for (pid,) in rows)])


def _taken_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def render(found: Mapping[str, Took], size: Size, millions: float, rounds: int) -> str:
    """The table for people."""
    head = (
        f"`python -m bench.console {millions:g} --write`: the schema of the table above, {size.finished:,} finished runs and"
        f" {size.live:,} live ones; a run of {size.entries:,} steps, each with a kilobyte of result. Each page is asked for"
        f" through the application, {rounds} times, and answered whole, without a network; milliseconds. *first*: the first"
        " time. *processor*: what this process and the server's took for one page in the mean. *kB*: the page's length."
        f" {os.cpu_count()} cores, load average {os.getloadavg()[0]:.0f}."
    )
    lines = ["## Pages, when there is very much", "", head, ""]
    lines += ["| page | first | median | worst | processor | kB |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {what} | {each.first:.0f} | {each.median:.0f} | {each.worst:.0f} | {each.cpu:.0f} | {each.kb:.0f} |"
        for what, each in found.items()
    ]
    slow = [what for what, each in found.items() if each.median > LIMIT_MS]
    told = f"over {LIMIT_MS} ms: {'; '.join(slow)}" if slow else f"none over {LIMIT_MS} ms"
    quick = sum(each.median < LIMIT_MS / 3 for each in found.values())
    lines += ["", f"Of {len(found)} pages {quick} take less than {LIMIT_MS // 3} ms in the median, and {told}."]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("millions", type=float, nargs="?", default=10.0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments: Any = parser.parse_args()
    with filled(arguments.millions, arguments.keep) as (url, size):
        found = asyncio.run(measure(url, arguments.rounds))
    table = render(found, size, arguments.millions, arguments.rounds)
    print(table)
    if arguments.write:
        write("bench.console", table)


if __name__ == "__main__":
    main()
