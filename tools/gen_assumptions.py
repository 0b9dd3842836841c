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
from troth.lab import Lab
from troth.lab.stripe import Stripe
from troth.lab.troth.journal import Seen
from troth.lab.troth.world import until_known
from troth.store.embedded import Embedded

PAGE = Path(__file__).resolve().parent.parent / "docs" / "lab" / "assumptions.md"
RESULTS = PAGE.with_suffix(".json")
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
    World("processes do not die", "processes die, any number of times; the caller asks again"),
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
    lab.provider(Prompt)
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

    version: str
    given_up: str
    closed: bool
    broken: list[tuple[str, str, int]]
    """Promise, what it costs, how many faults are enough."""
    because: str = ""
    """Why it speaks of nothing, if it does not."""


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
    broken = sorted(
        (one.promise.name, one.promise.costs or _COSTS[one.promise.severity], len(one.faults))
        for one in verdict.counterexamples
    )
    return Result(version, world.given_up, verdict.closed, broken, verdict.reason)


_COSTS = {"lie": "somebody was told what is not so", "stuck": "asking again does not help"}


def page(results: list[Result]) -> str:
    """The whole page."""
    cells = {(one.given_up, one.version): _cell(one) for one in results}
    rows = [
        f"| {world.given_up} | {world.means} | "
        + " | ".join(cells[world.given_up, version] for version in COLUMNS)
        + " |"
        for world in WORLDS
    ]
    return _PAGE.format(
        columns=" | ".join(COLUMNS), lines="---|" * len(COLUMNS), rows="\n".join(rows)
    )


def _cell(result: Result) -> str:
    if result.because:
        return f"refused: {result.because}"
    if not result.broken:
        return "**holds**" if result.closed else "nothing broken; not all of it was explored"
    faults = ("no fault", "one fault", "two faults")
    return "<br>".join(
        f"✗ {name}: {costs} ({faults[number] if number < len(faults) else f'{number} faults'})"
        for name, costs, number in result.broken
    )


_PAGE = """# What each assumption costs

Generated by `python -m tools.gen_assumptions`, which runs the lab; do not edit. It takes some minutes of a quiet core.

The signup of [`examples/naive_signup`](../../examples/naive_signup/common.py): an account, a customer and a charge of 49 EUR at Stripe, a mail. Five versions of it, and the
same promises for each: charged at most once, recorded at most once, nobody who was charged is left alone, who is told that it is done has an account that is
paid, and who asks long enough gets there. The mail may repeat; that is accepted in all of them.

The first row assumes the most. Each further row gives up one assumption more, and keeps those below it. A cell says what then breaks, what that costs, and how many faults are enough.
*Holds* speaks of any number of crashes and retries in that row's world: the graph has closed. (Real processes were not asked here; for the tests of the lab they are.)
Once a promise is broken, the search for others ends soon, so a cell may leave some out.

| given up | so | {columns} |
|---|---|{lines}
{rows}

* **As usually written** does not survive a death at the wrong moment: whoever asks again is told that the address is taken.
* **A tutorial's retries** charge again what may have been charged. No caller has to be impatient for that, and no answer lost: a process dies between the charge and the row.
* **Keys** make the provider remember, for a day. Beside each other, two attempts record one charge twice unless the database refuses the second row.
* **On troth** ([`on_troth.py`](../../examples/naive_signup/on_troth.py)), a charge that may have happened is repeated only while its key lives, and only twice here; then a person is asked, who is
  shown what was tried. Where the cell does not say *holds*, nothing was found in the time that the page was given, and more could be.
"""


def main() -> None:
    """Run all of them, and write what they say, and the page."""
    budget = float(sys.argv[1]) if len(sys.argv) > 1 else BUDGET_S
    results = []
    with tempfile.TemporaryDirectory() as directory:
        server = Embedded.acquire(Path(directory))
        try:
            for world in WORLDS:
                for version in COLUMNS:
                    began = time.monotonic()
                    found = run(version, world, server.url, budget)
                    results.append(found)
                    took = time.monotonic() - began
                    print(
                        f"{took:6.1f} s  {version}: {world.means}: {_cell(found)}",
                        file=sys.stderr,
                        flush=True,
                    )
        finally:
            server.release()
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    PAGE.write_text(page(results))


def stored() -> list[Result]:
    """What the lab said when the page was made."""
    return msgspec.json.decode(RESULTS.read_bytes(), type=list[Result])


if __name__ == "__main__":
    main()
