"""1,000 events, two worker processes, and one of them killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.harness.postgres import wait_until
from tests.inbox.program import SETTINGS, TABLES, build
from tests.inbox.site import Site, signed, stripe_event

ROOT = Path(__file__).resolve().parents[2]
OBJECTS, EACH = 100, 10


class Worker:
    """One process of `tests.inbox.program`."""

    def __init__(self, settings: dict[str, str], log: Path) -> None:
        with log.open("ab") as errors:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "tests.inbox.program"],
                cwd=ROOT,
                env=os.environ | {SETTINGS: json.dumps(settings)},
                stdout=errors,
                stderr=errors,
            )

    def kill9(self) -> None:
        self.child.kill()
        self.child.wait()


async def test_final_states_are_the_providers_and_none_is_applied_twice(
    site: Site, tmp_path: Path
) -> None:
    site.rows(TABLES)
    settings = {"url": site.url, "schema": site.schema, "provider": str(tmp_path / "provider.json")}
    _, inbox = build(settings)
    draw = random.Random(11)
    events = [
        stripe_event(f"{thing}_{number}", about=f"thing {thing}", created=1_700_000_000 + number)
        for number in range(1, EACH + 1)
        for thing in range(OBJECTS)
    ]
    for event in events:
        thing, number = event["id"].removeprefix("evt_").split("_")
        event["data"] = {"object": {"id": f"thing {thing}", "number": int(number)}}
    dropped = {event["id"] for event in draw.sample(events, len(events) // 20)}
    sent = [
        event for event in events if event["id"] not in dropped for _ in range(draw.randrange(1, 4))
    ]
    draw.shuffle(sent)

    workers = [Worker(settings, tmp_path / f"worker-{n}.log") for n in range(2)]
    try:
        joined = "SELECT count(*) FROM {s}.worker WHERE executes"
        await patiently(lambda: site.value(joined) == len(workers), "both have joined")
        half = len(sent) // 2
        await deliver(site, inbox, sent[:half])
        begun = "SELECT count(*) FROM {s}.application"
        await patiently(lambda: site.value(begun) > 0, "they are at work")
        workers[0].kill9()
        await deliver(site, inbox, sent[half:])
        publish(Path(settings["provider"]), events)
        done = "SELECT count(*) FROM {s}.inbox_event WHERE state = 'applied'"
        await patiently(
            lambda: site.value(done) == len(events), f"all are applied (see {tmp_path})"
        )
    finally:
        for worker in workers:
            worker.kill9()
    assert site.rows("SELECT id, number FROM {s}.thing ORDER BY 1") == sorted(
        (f"thing {n}", EACH) for n in range(OBJECTS)
    )
    applications = site.rows("SELECT event, count(*) FROM {s}.application GROUP BY 1")
    assert len(applications) == len(events)
    assert {count for _, count in applications} == {1}
    swept = {
        event for (event,) in site.rows("SELECT event_id FROM {s}.inbox_event WHERE delivered = 0")
    }
    assert swept == dropped
    assert site.value("SELECT sum(delivered) FROM {s}.inbox_event") == len(sent)
    assert site.rows("SELECT * FROM {s}.inbox_conflict") == []


async def patiently(condition, what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what, 60.0)


def publish(file: Path, events: list[dict]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(events))
    new.rename(file)


async def deliver(site: Site, inbox, sent: list[dict]) -> None:
    """By several connections at once, as a web server would."""
    waiting = iter(sent)

    async def one() -> None:
        async with await psycopg.AsyncConnection.connect(site.url, autocommit=True) as connection:
            for event in waiting:
                await inbox.accept(connection, *signed(event))

    await asyncio.gather(*(one() for _ in range(4)))
