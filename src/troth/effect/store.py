"""The only place that runs the statements of traffic. Every function takes the connection to run them on."""

from __future__ import annotations

import dataclasses
import time

from troth.effect.breaker import Tally
from troth.effect.limits import Declaration, Reading, Terms
from troth.store.queries import Queries, load
from troth.store.tx import Tx


def queries(schema: str) -> Queries:
    """The statements of traffic for one schema."""
    return load("troth.effect", schema)


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """What one worker says and asks in one transaction."""

    provider: str
    worker: int
    number: int  # of this worker and provider; grows
    slots: int
    tally: Tally
    trial: bool  # a call is ready to be the trial of a half-open breaker
    in_flight_s: float  # the longest time for which its calls can be under way
    kept: int  # leases
    demand: int


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came of a turn."""

    terms: Terms
    first_slot: float | None  # of as many as were asked for, in database time
    trial: bool  # ours is the trial
    held: int
    share: int
    lacking: int


async def declare(tx: Tx, q: Queries, name: str, worker: int, declaration: Declaration) -> None:
    """Say how a provider may be called; what a later worker has said stays."""
    await tx.execute(q.declare_provider, (name, worker, *dataclasses.astuple(declaration)))


async def take_turn(tx: Tx, q: Queries, turn: Turn) -> Answer | None:
    """Take a turn; None if nobody has declared this provider.

    If the answer is lost, take another one with a greater number: slots that nobody knows of go unused, leases that
    nobody knows of are given back by it, and failures may be counted twice, which opens a breaker early and does no harm.
    """
    tally = turn.tally
    asked_at = time.monotonic()
    row = await (
        await tx.execute(
            q.take_turn,
            (
                turn.provider,
                turn.worker,
                turn.number,
                turn.slots,
                tally.era,
                tally.answered,
                tally.failed,
                tally.unsent,
                turn.trial,
                turn.in_flight_s,
                turn.kept,
                turn.demand,
            ),
        )
    ).fetchone()
    answered_at = time.monotonic()
    if row is None or row[0] is None:
        return None
    now, *declared = row[:8]
    era, failures, open_until, trial_until, first_slot, trial, held, share, lacking = row[8:]
    reading = Reading(now, asked_at, answered_at)
    terms = Terms(
        Declaration(*declared), era, failures, open_until, trial_until, reading, answered_at
    )
    return Answer(terms, first_slot, trial, held or 0, share or 0, lacking or 0)
