"""Work on a transaction that is written once, for coroutines and for threads.

A *plan* is a generator. It yields one statement at a time and is sent the rows that it returned; what the plan returns
is the result. A plan decides; the two functions below carry it out, and know nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import LiteralString, TypeAlias, TypeVar

from troth.store.tx import BlockingTx, Params, Row, Tx

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a plan. *returns* says whether it has rows to give; without, the plan is sent an empty list."""

    query: LiteralString
    params: Params | None = None
    returns: bool = True


Plan: TypeAlias = Generator[Statement, list[Row], R]


async def carry_out(tx: Tx, plan: Plan[R]) -> R:
    """Run *plan* in *tx*; what it returns. An error of the database ends the plan and is raised as it is."""
    try:
        statement = next(plan)
        while True:
            rows = await tx.execute(statement.query, statement.params)
            statement = plan.send(await rows.fetchall() if statement.returns else [])
    except StopIteration as end:
        value: R = end.value
        return value
    finally:
        plan.close()


def carry_out_blocking(tx: BlockingTx, plan: Plan[R]) -> R:
    """As `carry_out`, from a thread."""
    try:
        statement = next(plan)
        while True:
            rows = tx.execute(statement.query, statement.params)
            statement = plan.send(rows.fetchall() if statement.returns else [])
    except StopIteration as end:
        value: R = end.value
        return value
    finally:
        plan.close()
