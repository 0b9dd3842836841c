"""Write the page of what each assumption costs, by running the lab, into docs/lab/assumptions.md: some minutes of one core."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from examples.naive_signup import on_troth
from examples.naive_signup.scenario import VERSIONS
from troth.lab import Lab, Verdict
from troth.lab.provider import Provider
from troth.lab.stripe import Stripe
from troth.lab.troth.journal import Seen
from troth.lab.troth.world import until_known
from troth.store.embedded import Embedded

PAGE = Path(__file__).resolve().parent.parent / "docs" / "lab" / "assumptions.md"
BUDGET_S = 240.0
HOUR = timedelta(hours=1)


class World(NamedTuple):
    """What may happen, and what is assumed not to: each has all that those before it have."""

    given_up: str
    means: str
    survived: int = 0
    overlap: int = 1
    in_flight: int = 0
    expiry: bool = False
    within: timedelta | None = HOUR


WORLDS = (
    World("nothing: no process dies in between", "processes die, any number of times; the caller asks again"),
    World("every answer arrives", "answers are lost, done or not; the provider answers 500, done or not", survived=1),
    World("callers wait", "a caller asks again while the first attempt is still at work", survived=1, overlap=2),
    World("what timed out will not happen any more", "an effect lands late, after its caller gave up", survived=1, overlap=2, in_flight=1),
    World("keys live for ever, and callers come at once", "keys expire after a day, and a caller asks for as long as it takes", 1, 2, 1, True, None),
)  # fmt: skip


class Prompt(Stripe):
    """Stripe, whose effects land within two minutes, as the version on troth was told."""

    name = "stripe"

    def lands_within(self, op: Any) -> float | None:
        del op
        return on_troth.LANDS_WITHIN.total_seconds()


def describe(lab: Lab, version: str, world: World, url: str) -> None:
    """The scenario of `examples/naive_signup`, for each version the same promises."""
    box = lab.mailbox()
    stripe: Provider = lab.provider(Prompt)
    del stripe
    if version == ON_TROTH:
        program = lab.troth(
            on_troth.troth,
            url,
            seed=on_troth.SCHEMA,
            workers=world.overlap,
            lost_commits=False,
            name="db",
        )
        start = program.start(on_troth.signup, "ada@example.com", key="ada@example.com")
        lab.user(start, again=until_known, overlap=1, within=world.within)
    else:
        app, migrate = VERSIONS[version]
        lab.database("signup.db", migrate=migrate)
        signup = lab.http(app).post("/signup", json={"email": "ada@example.com"})
        lab.user(signup, within=world.within)
    for name, holds, costs in PROMISES:
        lab.always(name, holds, costs=costs)
    lab.told(200, "who is told so is registered and paid", lambda w: w.db.users and w.db.payments)
    lab.at_rest(
        "nobody who was charged is left alone",
        _nobody_left_alone,
        costs="49 EUR to give back, and a letter",
    )
    lab.eventually(
        "who asks long enough is registered and paid, or a person is asked",
        lambda w: (w.db.users and w.db.payments) or _asks(w),
    )
    lab.accept("the welcome mail may repeat", sink=box, because="harmless")


def _nobody_left_alone(w: Any) -> object:
    return bool(w.db.payments) or not w.stripe.charges or _asks(w)


def _asks(w: Any) -> bool:
    """Whether a person is asked, who knows what was tried, and can look."""
    runs = w.db.runs if isinstance(w.db, Seen) else []
    return any(run.state == "attention" for run in runs)


PROMISES: tuple[tuple[str, Callable[[Any], object], str], ...] = (
    ("charged at most once", lambda w: len(w.stripe.charges) <= 1, "49 EUR and a dispute fee"),
    ("recorded at most once", lambda w: len(w.db.payments) <= 1, "wrong books"),
)
ON_TROTH = "on troth"
COLUMNS = (
    "as usually written", "with a tutorial's retries", "with keys, without a constraint", "with keys and a constraint", ON_TROTH,
)  # fmt: skip


class Result(msgspec.Struct):
    """What the lab said of one version in one world."""

    word: str
    closed: bool
    broken: list[tuple[str, str, int]]
    """Promise, what it costs, how many faults are enough."""
    states: int = 0
    runs: int = 0
    because: str = ""


def run(version: str, world: World, url: str, budget: float = BUDGET_S) -> Result:
    """One search."""
    lab = Lab(f"{version}, {world.means}", closer=0)
    describe(lab, version, world, url)
    verdict = lab.explore(
        budget=budget,
        survived=world.survived,
        overlap=world.overlap,
        in_flight=world.in_flight,
        expiry=world.expiry,
        confirm=False,
    )
    return result_of(verdict)


def result_of(verdict: Verdict) -> Result:
    """What the page needs of a verdict."""
    broken = [
        (one.promise.name, one.promise.costs or one.promise.severity, len(one.faults))
        for one in verdict.counterexamples
    ]
    return Result(
        verdict.word,
        verdict.closed,
        sorted(broken),
        verdict.counts.states,
        verdict.counts.runs,
        verdict.reason or "; ".join(verdict.open_because),
    )


def main() -> None:
    """All of them, and the page."""
    with tempfile.TemporaryDirectory() as directory:
        server = Embedded.acquire(Path(directory))
        try:
            for world in WORLDS:
                for version in COLUMNS:
                    began = time.monotonic()
                    found = run(version, world, server.url)
                    print(
                        f"{version:32} {world.means[:50]:50} {found.word:9} closed={found.closed} {found.states} {found.broken} {found.because} {time.monotonic() - began:.1f} s",
                        file=sys.stderr,
                        flush=True,
                    )
        finally:
            server.release()


if __name__ == "__main__":
    main()
