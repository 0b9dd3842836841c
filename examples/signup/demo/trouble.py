"""What goes wrong on purpose, and when: moments are counted, not slept for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import httpx
import psycopg

from examples.signup.demo.board import Board
from examples.signup.demo.stage import Stage, StageError

Kind = Literal["kill", "crash"]
KILL: Kind = "kill"
CRASH: Kind = "crash"

_HOLDERS = """
SELECT w.name, w.id FROM troth.worker w JOIN troth.run r ON r.owner = w.id
WHERE w.executes GROUP BY w.id ORDER BY count(*) DESC
"""
_STILL_HELD = "SELECT count(*) FROM troth.run WHERE owner = %s"

# The first ones do the work and lose the answer, the last ones do nothing: the client cannot tell them apart.
PROVIDER_FAULTS = [
    {"kind": kind, "match": {"method": "POST"}, "probability": probability, "seed": seed}
    for seed, (kind, probability) in enumerate(
        (
            ("hang_after", 0.05),
            ("reset_after", 0.05),
            ("http500_after", 0.05),
            ("truncate_after", 0.02),
            ("http500_before", 0.02),
            ("http429", 0.02),
        )
    )
]
MAILBOX_FAULTS = [{"kind": "drop_after", "probability": 0.05, "seed": 1, "count": 2}]

EVENT_FAULTS = {"duplicate": 0.1, "drop": 0.05, "reorder": 0.5, "seed": 1}
"""How the provider tells of things: often twice, sometimes late, sometimes never."""


@dataclass(frozen=True)
class Trouble:
    """Something that happens when so many people have finished."""

    after: int
    kind: Kind


def schedule(people: int, *, kills: int, crashes: int) -> list[Trouble]:
    """Spread over the whole demo, with the crashes in the middle of the kills."""
    first = (kills + 1) // 2
    order: list[tuple[Kind, int]] = [(KILL, first), (CRASH, crashes), (KILL, kills - first)]
    kinds: list[Kind] = [kind for kind, count in order for _ in range(count)]
    return [
        Trouble(people * number // (len(kinds) + 1), kind) for number, kind in enumerate(kinds, 1)
    ]


async def misbehave(stage: Stage) -> None:
    """Let the provider and the mailbox lose answers now and then, and events come twice, late, or never."""
    async with httpx.AsyncClient() as http:
        for url, rules in (
            (stage.provider_url, PROVIDER_FAULTS),
            (stage.mailbox_url, MAILBOX_FAULTS),
        ):
            (await http.post(f"{url}/_faults", json=rules)).raise_for_status()
        (await http.post(f"{stage.provider_url}/_deliveries", json=EVENT_FAULTS)).raise_for_status()


async def struck(stage: Stage) -> dict[str, int]:
    """How often the provider has misbehaved so far, by the kind of the fault."""
    async with httpx.AsyncClient() as http:
        rules = (await http.get(f"{stage.provider_url}/_faults")).raise_for_status().json()
    return {rule["kind"]: rule["fired"] for rule in rules}


async def make_trouble(troubles: Sequence[Trouble], stage: Stage, board: Board) -> None:
    """One after the other, each when its moment has come."""
    for trouble in troubles:
        while board.finished < trouble.after:
            await board.change()
        if trouble.kind == KILL:
            await kill_a_busy_worker(stage, board)
        else:
            board.say("killing PostgreSQL (SIGKILL to the postmaster)")
            away = await stage.crash_postgres()
            board.outages_s.append(away)
            board.say(f"PostgreSQL is back after {away:.1f} s")


async def kill_a_busy_worker(stage: Stage, board: Board) -> None:
    """SIGKILL the worker process that holds the most runs; `troth worker` starts another one.

    The database says afterwards how many runs it held when it died.
    """
    connect = psycopg.AsyncConnection.connect(stage.database_url, autocommit=True)
    async with await connect as connection:
        while (found := await busiest(connection, stage)) is None:
            if board.finished == board.people:
                raise StageError("everybody has finished: there is no run left to interrupt")
            await board.change()
        name, ident = found
        await stage.kill(name)
        [held] = await (await connection.execute(_STILL_HELD, [ident])).fetchone() or [0]
        board.kills.append((name, held))
        board.say(f"killed worker process {name} with {held} runs in flight")


async def busiest(connection: psycopg.AsyncConnection, stage: Stage) -> tuple[str, int] | None:
    """Name and id of the living worker that holds the most runs; None if all are idle."""
    for name, ident in await (await connection.execute(_HOLDERS)).fetchall():
        if stage.alive(name):
            return name, ident
    return None
