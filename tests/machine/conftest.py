"""The machine that most tests use, and two sessions to conduct by hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from enum import StrEnum
from itertools import count

import pytest

from tests.harness.cell import open_cell
from tests.harness.postgres import drop_schema
from troth.machine import Firing, Machine, Transition
from troth.store.migrate import migrate


class Plan(StrEnum):
    INCOMPLETE = "incomplete"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    CANCELED = "canceled"
    REFUNDED = "refunded"


def small(firing: Firing) -> str | None:
    """A guard that looks at the data of the firing."""
    amount = (firing.data or {}).get("amount", 0)
    return f"{amount} is more than 100" if amount > 100 else None


_numbers = count(1)


def subscription(name: str | None = None) -> Machine:
    """The sample; without a name, one that no other test has objects of."""
    return Machine(
        name or f"subscription{next(_numbers)}",
        initial=Plan.INCOMPLETE,
        final={Plan.CANCELED, Plan.REFUNDED},
        states=Plan,
        transitions=[
            Transition("try", Plan.INCOMPLETE, Plan.TRIALING),
            Transition("activate", {Plan.INCOMPLETE, Plan.TRIALING, Plan.PAST_DUE}, Plan.ACTIVE),
            Transition("renew", Plan.ACTIVE, Plan.ACTIVE),
            Transition("fail", Plan.ACTIVE, Plan.PAST_DUE),
            Transition("cancel", {Plan.TRIALING, Plan.ACTIVE, Plan.PAST_DUE}, Plan.CANCELED),
            Transition("refund", Plan.ACTIVE, Plan.REFUNDED, guard=small),
        ],
    )


@pytest.fixture(scope="module")
def migrated(database_url) -> Iterator[tuple[str, str]]:
    """(url, schema), for all tests of a module: each has a machine of its own name."""
    schema = f"machines_{uuid.uuid4().hex[:12]}"
    migrate(database_url, schema)
    yield database_url, schema
    drop_schema(database_url, schema)


@pytest.fixture
def machine(migrated) -> Machine:
    made = subscription()
    made.bind(migrated[1])
    return made


@pytest.fixture
async def cell(migrated):
    async with open_cell(*migrated) as opened:
        yield opened


# How to come into each state, from nothing, by firing.
WAYS = {
    Plan.INCOMPLETE: [],
    Plan.TRIALING: ["try"],
    Plan.ACTIVE: ["activate"],
    Plan.PAST_DUE: ["activate", "fail"],
    Plan.CANCELED: ["try", "cancel"],
    Plan.REFUNDED: ["activate", "refund"],
}

# The same table again, written out: what must happen, not what the code says.
LEGAL = {
    ("incomplete", "try"): "trialing",
    ("incomplete", "activate"): "active",
    ("trialing", "activate"): "active",
    ("trialing", "cancel"): "canceled",
    ("active", "renew"): "active",
    ("active", "fail"): "past_due",
    ("active", "cancel"): "canceled",
    ("active", "refund"): "refunded",
    ("past_due", "activate"): "active",
    ("past_due", "cancel"): "canceled",
}
EVENTS = sorted({event for _, event in LEGAL})
STATES = [str(state) for state in Plan]


def reachable(state: str) -> set[str]:
    """The states to which there is a way, with *state* itself."""
    found = {state}
    while more := {to for (one, _), to in LEGAL.items() if one in found} - found:
        found |= more
    return found


async def bring(machine, tx, object_id: str, state: str) -> None:
    """Make an object and fire it into a state."""
    await machine.create(tx, object_id, cause="made")
    for number, event in enumerate(WAYS[Plan(state)]):
        await machine.fire(tx, object_id, event, cause=f"way:{number}")
