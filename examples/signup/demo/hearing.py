"""Has the service heard of all that the provider tells of? If not: of what, why, and what a person can do about it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import psycopg

from examples.signup.demo.stage import Stage
from examples.signup.demo.truths import objects

PATIENCE_S = 60.0
LOOK_S = 0.1
SETTLED = frozenset({"applied", "superseded", "ignored"})  # "ignored" is none of ours

_TAKEN_IN = (
    "SELECT event_id, object_key, state, reason FROM troth.inbox_event WHERE source = 'stripe'"
)


@dataclass(frozen=True)
class Taken:
    """An event that was taken in, and what has become of it."""

    event: str
    about: str
    state: str
    reason: str | None


@dataclass(frozen=True)
class Unheard:
    """An event that was not applied. *stuck*: nothing will change that by itself."""

    event: str
    kind: str
    why: str
    todo: str
    stuck: bool

    def __str__(self) -> str:
        return f"{self.event} ({self.kind}) {self.why}; {self.todo}"


def unheard(told: Mapping[str, str], taken: Mapping[str, Taken]) -> list[Unheard]:
    """What is missing. *told*: the provider's events, and their types. What waits for another is as stuck as that one."""
    blocked = {one.about: one.event for one in taken.values() if one.state == "quarantined"}
    found = []
    for event, kind in told.items():
        one = taken.get(event)
        if one is None:
            why, todo = "has not come", "is it in the provider's list? troth inbox list"
            found.append(Unheard(event, kind, why, todo, stuck=False))
        elif one.state == "quarantined":
            why = f"about {one.about} is in quarantine: {last_line(one.reason)}"
            todo = f"mend the cause, then: troth inbox replay {event}"
            found.append(Unheard(event, kind, why, todo, stuck=True))
        elif one.state not in SETTLED:
            first = blocked.get(one.about)
            why = f"about {one.about} is {one.state}" + (
                f", and waits for {first}" if first else ""
            )
            todo = f"troth inbox show {first or event}"
            found.append(Unheard(event, kind, why, todo, stuck=first is not None))
    return sorted(found, key=lambda one: not one.stuck)


def last_line(reason: str | None) -> str:
    """Of a traceback, what it comes to."""
    return (reason or "nobody knows why").strip().splitlines()[-1]


async def everything(stage: Stage) -> Sequence[Unheard]:
    """Wait until each event of the provider was applied here; what is missing, as soon as nothing else is to be expected."""
    async with (
        await psycopg.AsyncConnection.connect(stage.database_url, autocommit=True) as database,
        httpx.AsyncClient(timeout=30) as http,
    ):
        rows = await objects(http, stage.provider_url, "event")
        told = {one["id"]: one["object"]["type"] for one in rows}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            missing = unheard(told, await read(database))
            if all(one.stuck for one in missing) or time.monotonic() > deadline:
                return missing
            await asyncio.sleep(LOOK_S)


async def read(database: psycopg.AsyncConnection) -> dict[str, Taken]:
    rows = await (await database.execute(_TAKEN_IN)).fetchall()
    return {row[0]: Taken(*row) for row in rows}
