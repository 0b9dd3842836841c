"""Has the workers reconcile, and reads what they have found."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from examples.signup.core import troth
from examples.signup.demo.waiting import until
from examples.signup.reconciling import LOOKBACK
from troth.command.model import Author
from troth.reconcile import Break, BreakState, ReconcileError, acts, breaks_store, store

AUTHOR = Author("demo", "the day ends")
LOOK_S = 0.1


@dataclass(frozen=True)
class Difference:
    """A break: what kind of difference it is, how much money is at risk (minor units), and what is said of it."""

    kind: str
    minor: int
    note: str


@dataclass(frozen=True)
class Reconciled:
    """What a run has read on either side, how many of them it has matched, and what is left.

    *repeated*: of theirs, what came a second time, and counts once.
    """

    name: str
    ours: int
    theirs: int
    repeated: int
    matched: int
    verdict: str
    breaks: Sequence[Difference]

    @property
    def holds(self) -> bool:
        return self.verdict in {"clean", "explained"}


async def run(database_url: str, names: Sequence[str]) -> list[Reconciled]:
    """Ask for a run of each, all at once, and wait for their ends."""
    return list(await asyncio.gather(*(one(database_url, name) for name in names)))


async def one(database_url: str, name: str) -> Reconciled:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as tx:
        number = await ask(tx, name)
        q = store.queries(troth.schema)

        async def ended() -> bool:
            [line] = await store.runs(tx, q, run=number)
            return line.ended_at is not None

        await until(ended, f"the reconciliation {name} ends")
        [line] = await store.runs(tx, q, run=number)
        left = await breaks_store.breaks(
            tx, breaks_store.queries(troth.schema), name, states=[BreakState.OPEN]
        )
    counts = line.counts or {}
    return Reconciled(
        name,
        line.ours.items if line.ours else 0,
        line.theirs.items if line.theirs else 0,
        line.theirs.repeated if line.theirs else 0,
        counts.get("by_key", 0) + counts.get("by_rule", 0) + counts.get("void", 0),
        line.verdict or "",
        [difference(each) for each in left],
    )


async def ask(tx: psycopg.AsyncConnection, name: str) -> int:
    """The number of a run that is about all that has happened; one that is under way ends first."""
    found: list[int] = []
    since = datetime.now(UTC) - LOOKBACK

    async def asked() -> bool:
        try:
            async with tx.transaction():
                number, _ = await acts.request(tx, troth.schema, name, AUTHOR, since)
        except ReconcileError:
            return False
        found.append(number)
        return True

    await until(asked, f"the reconciliation {name} may begin")
    return found[0]


def difference(each: Break) -> Difference:
    return Difference(each.kind.value, each.minor, each.note)
