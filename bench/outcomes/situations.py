"""What happens to the charge, and how it is made to happen: at a place, never by time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.outcomes.payment import (
    CALL_WITHIN_S,
    KEY_LIVES_S,
    LANDS_LATE_S,
    SHORT_KEY_LIVES_S,
    Job,
    arm,
    disarm,
)
from bench.outcomes.processes import CardProvider, NotStagedError, Program, Said, wait_until

OUTAGE_S = 50.0


@dataclass(frozen=True)
class Row:
    """One system, used in one way."""

    system: str
    way: str
    module: str
    variant: str
    keyed: bool = False

    @property
    def name(self) -> str:
        return f"{self.system}: {self.way}"


@dataclass(frozen=True)
class Cell:
    """What became of one charge: how often the card was charged, and what the system says of it."""

    charges: int
    said: Said

    @property
    def lie(self) -> bool:
        """It says failed and money moved, or it says succeeded and that is not what happened, once."""
        return (self.said.says == "failed" and self.charges > 0) or (
            self.said.says == "succeeded" and self.charges != 1
        )


class Stage:
    """One cell: a provider, a directory, and the processes of one order."""

    def __init__(
        self, row: Row, order: str, database: str, provider: CardProvider, directory: Path
    ) -> None:
        self.provider = provider
        self._directory = directory
        self._module = f"bench.outcomes.{row.module}"
        self._job = Job(database, provider.url, str(directory), order, row.variant, KEY_LIVES_S)
        self._programs: list[Program] = []

    def play(self, happen: Callable[[Stage], Said]) -> Cell:
        """Let it happen, and count. Raises `NotStagedError` if it did not come about."""
        try:
            said = happen(self)
        finally:
            for program in self._programs:
                program.remove()
            self.provider.behave()
            disarm(self._directory)
        return Cell(self.provider.charges(self._job.order), said)

    def arm(self, point: str) -> None:
        arm(self._directory, point)

    def program(self, *, key_lives_s: float = KEY_LIVES_S) -> Program:
        """Start one more process of the program, on the same order."""
        program = Program(self._module, dataclasses.replace(self._job, key_lives_s=key_lives_s))
        self._programs.append(program)
        return program

    def require_struck(self) -> None:
        """Raises `NotStagedError` if the provider had no opportunity to misbehave."""
        if not self.provider.struck():
            raise NotStagedError("no request came in the provider's way")


def nothing(stage: Stage) -> Said:
    return stage.program().said()


def fault(kind: str) -> Callable[[Stage], Said]:
    """The provider does this to the first request, and behaves afterwards."""

    def happen(stage: Stage) -> Said:
        stage.provider.misbehave_once(kind)
        said = stage.program().said()
        stage.require_struck()
        return said

    return happen


def lands_late(stage: Stage) -> Said:
    """The provider takes its time, and does it when the client has long given up."""
    stage.provider.misbehave_once("slow", seconds=LANDS_LATE_S)
    said = stage.program().said()
    stage.require_struck()
    stage.provider.stop()  # a stopping server ends what it has begun: now it has landed
    stage.provider.start()
    return said


def outage(stage: Stage) -> Said:
    """The card is charged, the answer never comes, and the provider is away until the program gives up, or for 50 s."""
    stage.provider.misbehave_once("timeout_after")
    program = stage.program()
    wait_until(stage.provider.struck, "the card is charged")
    stage.provider.stop()
    try:
        program.ends_within(OUTAGE_S)
    finally:
        stage.provider.start()
    return program.said()


def refused(stage: Stage) -> Said:
    """Nobody listens until the first attempt has been refused."""
    stage.provider.stop()
    try:
        stage.arm("refused")
        program = stage.program()
        program.wait_frozen()
    finally:
        stage.provider.start()
    program.wake()
    return program.said()


def killed(stage: Stage) -> Said:
    """kill -9 when the answer is there and nothing is recorded; then the program is started again."""
    stage.arm("charged")
    victim = stage.program()
    victim.wait_frozen()
    victim.kill9()
    return stage.program().said()


def killed_for_long(stage: Stage) -> Said:
    """The same, but when the program is started again, the provider has forgotten the key.

    It promises to know a key for 61 s; those are waited out, and then a day passes by its clock.
    """
    stage.arm("charged")
    victim = stage.program(key_lives_s=SHORT_KEY_LIVES_S)
    victim.wait_frozen()
    charged_at = time.monotonic()
    victim.kill9()
    time.sleep(charged_at + SHORT_KEY_LIVES_S - time.monotonic())
    stage.provider.advance(KEY_LIVES_S)
    return stage.program(key_lives_s=SHORT_KEY_LIVES_S).said()


def taken_for_dead(stage: Stage) -> Said:
    """It stalls just before it sends; another one is started, goes on, and ends; then the first one wakes up."""
    stage.arm("sending")
    zombie = stage.program()
    zombie.wait_frozen()
    late = time.monotonic() + CALL_WITHIN_S + 1
    successor = stage.program().said()
    time.sleep(max(0.0, late - time.monotonic()))  # past every limit of a call's time
    zombie.wake()
    own = zombie.said()
    return dataclasses.replace(successor, flagged=successor.flagged or own.flagged)


SITUATIONS: dict[str, Callable[[Stage], Said]] = {
    "nothing happens": nothing,
    "refused before": refused,
    "429 before": fault("http429"),
    "time out after": fault("timeout_after"),
    "time out, lands late": lands_late,
    "time out, then an outage": outage,
    "500 after": fault("http500_after"),
    "reset after": fault("reset_after"),
    "kill -9 after": killed,
    "taken for dead": taken_for_dead,
}

# Those who send no key have nothing to forget.
WITH_KEY = SITUATIONS | {"kill -9 after, key forgotten": killed_for_long}
