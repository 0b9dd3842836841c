"""What a verdict takes for granted, and what it does not speak of, in words: printed with it, so that it is not taken for more than it is."""

from __future__ import annotations

from collections.abc import Iterator

from troth.lab.arrivals import Delivery, Round
from troth.lab.mailbox import Mailbox
from troth.lab.scenario import Scenario
from troth.lab.steps import Limits

SEQUENTIAL = "overlap: attempts run one after the other; a caller's timeout with the first attempt still running is not explored"
TOGETHER = "overlap in one process: attempts beside each other ran in processes of their own, and this code keeps memory"
PROMPT = "late landing: an effect whose caller gave up has either happened by then or never happens"
UNCONFIRMED = "real processes: crashes are deduced from durability, and were not confirmed by killing processes"
AGELESS = "expiry: idempotency keys never expire"
UNEXPLORED = (
    "hash order: a second execution compares within this process, not under another PYTHONHASHSEED",
)
"""What this version does not search."""


def model(scenario: Scenario, limits: Limits, memories: int) -> Iterator[str]:
    """What the verdict assumes. *memories*: in how many states the process was seen to begin."""
    if limits.overlap > 1:
        yield "any number of crashes, lost responses, impatient callers and retries"
        yield f"attempts alive at once <= {limits.overlap}"
    else:
        yield "any number of crashes, lost responses and sequential retries"
    yield f"effects under way whose callers have given up <= {limits.in_flight}"
    yield f"errors that one attempt survives <= {limits.survived}, each for at most {limits.persists} tries"
    for part in scenario.components():
        if not isinstance(part, Mailbox):
            yield part.describe()
    for number, actor in enumerate(scenario.actors, start=1):
        if actor.within is not None:
            yield f"user {number} ({actor.call.label}) asks again only within {actor.within}"
    yield "start-up code runs once, before the first fault"
    if memories == 1:
        yield "memory: none carried from attempt to attempt"
    else:
        yield f"memory: {memories - 1} states of one warm process, and a fresh one"
    yield from _arriving(scenario)
    for kind, which, because in scenario.ignored:
        yield f"ignored {kind}: {which}, because {because}"


def _arriving(scenario: Scenario) -> Iterator[str]:
    """What the verdict assumes of deliveries, workers and timers."""
    for actor in scenario.actors:
        if isinstance(actor.call, Delivery):
            given_up = "or given up" if actor.call.loses else "and never given up"
            yield (
                f"{actor.source} delivers each event until it is answered 2xx, {given_up}: early, repeatedly, in any order"
            )
        elif isinstance(actor.call, Round):
            yield f"{actor.call.label}: one round at a time; an endless loop is cut where it sleeps"


def unexplored(scenario: Scenario, limits: Limits, *, shares_memory: bool) -> Iterator[str]:
    """What the search leaves out."""
    users = [actor for actor in scenario.actors if actor.role == "user"]
    if limits.overlap == 1 or any(user.overlap == 1 for user in users):
        yield SEQUENTIAL
    if limits.in_flight == 0:
        yield PROMPT
    if not limits.expiry:
        yield AGELESS
    if shares_memory:
        yield TOGETHER
    yield from UNEXPLORED
