"""A crowd posts at once, the same things too, and is killed: what was accepted could have been accepted one after the other.

Which order that was, nobody knows beforehand; the entries of accounts with a limit tell it. So afterwards the auditor is told
everything that is in the books in such an order, and must accept each, holds and limits and reversals included.
"""

from __future__ import annotations

import graphlib
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.ledger.auditor import Account, Auditor, Item
from tests.ledger.test_against_auditor import is_sound_at
from troth import Money
from troth.ledger import Hold, Ledger, Linked, PostHold, Reversal, Transfer, VoidHold

log = logging.getLogger(__name__)

ACCOUNTS = {
    # code: normal side, limit
    "bank": ("debit", "none"),
    "sales": ("credit", "none"),
    "ann": ("credit", "debits_must_not_exceed_credits"),
    "bob": ("credit", "debits_must_not_exceed_credits"),
    "stock": ("debit", "credits_must_not_exceed_debits"),
}
CROWD = 6


@dataclass
class Crowd:
    """What all of them share: the items that may be posted, each with one content, and what became of transactions."""

    url: str
    schema: str
    items: list[Item]
    ledger: Ledger
    accepted: set[str] = field(default_factory=set)  # in a transaction whose COMMIT was answered
    refused: set[str] = field(default_factory=set)
    said: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def connect(self) -> psycopg.Connection:
        """A session in which two that wait for each other do not wait long."""
        return psycopg.connect(self.url, options="-c deadlock_timeout=20ms")

    def rows(self, connection: psycopg.Connection, text: str) -> list[tuple[Any, ...]]:
        composed = sql.SQL(text).format(*[sql.Identifier(self.schema)] * text.count("{}"))  # type: ignore[arg-type]
        return connection.execute(composed).fetchall()


def made_of(seed: int, count: int) -> list[Item]:
    """So many items; some are about earlier ones, which may be posted later, or never."""
    dice = random.Random(seed)
    made: list[Item] = [Transfer("fund:ann", "bank", "ann", Money(3000, "EUR"))]
    made.append(Transfer("fund:stock", "stock", "sales", Money(2000, "EUR")))
    for number in range(count):
        key = f"i{number}"
        debit, credit = dice.sample(list(ACCOUNTS), 2)
        amount = Money(dice.randint(1, 400), "EUR")
        holds = [each.id for each in made[-60:] if isinstance(each, Hold)]
        moved = [each.id for each in made[-60:] if isinstance(each, Transfer | PostHold)]
        kind = dice.random()
        if kind < 0.5:
            made.append(Transfer(key, debit, credit, amount))
        elif kind < 0.7 or not holds:
            made.append(Hold(key, debit, credit, amount))
        elif kind < 0.82:
            part = amount if dice.random() < 0.5 else None
            made.append(PostHold(key, dice.choice(holds), part, keep_rest=dice.random() < 0.5))
        elif kind < 0.9:
            made.append(VoidHold(key, dice.choice(holds)))
        else:
            made.append(Reversal(key, dice.choice(moved), amount if dice.random() < 0.7 else None))
    return made


def member(crowd: Crowd, seed: int, transactions: int) -> None:
    """One of the crowd: its transactions take items from where all of them are just now."""
    dice = random.Random(seed)
    connection = crowd.connect()
    for number in range(transactions):
        try:
            accepted, refused = turn(crowd, connection, dice, number / transactions)
        except (
            psycopg.OperationalError
        ):  # a deadlock, or killed: then the COMMIT may have been in time
            connection.close()
            connection = crowd.connect()
            continue
        with crowd.lock:
            crowd.accepted |= accepted
            crowd.refused |= refused
    connection.close()


def turn(
    crowd: Crowd, connection: psycopg.Connection, dice: random.Random, far: float
) -> tuple[set[str], set[str]]:
    """One transaction, to its end; which ids it has accepted and refused, if it committed."""
    accepted: set[str] = set()
    refused: set[str] = set()
    for _ in range(dice.randint(1, 3)):
        at = int(far * len(crowd.items))
        near = crowd.items[max(0, at - 10) : at + 30]
        chosen = dice.sample(near, dice.randint(1, min(4, len(near))))
        call: list[Item | Linked] = list(chosen)
        if len(chosen) > 2 and dice.random() < 0.3:
            call = [chosen[0], Linked(*chosen[1:])]
        results = crowd.ledger.try_post_all_blocking(connection, call)
        with crowd.lock:
            crowd.said += len(results)
        for item, result in zip(chosen, results, strict=True):
            if result.outcome.is_posted:
                accepted.add(str(item.id))
            elif not result.outcome.startswith(("linked", "exists")):
                refused.add(str(item.id))
    if dice.random() < 0.15:
        connection.rollback()
        return set(), set()
    connection.commit()
    return accepted, refused


def until_over(crowd: Crowd, do: Callable[[psycopg.Connection], object]) -> None:
    """Again and again, until the crowd has gone."""
    with psycopg.connect(crowd.url, autocommit=True) as connection:
        while not crowd.over.wait(0.01):
            do(connection)


def killing(crowd: Crowd, seed: int) -> Callable[[psycopg.Connection], object]:
    dice = random.Random(seed)

    def kill(connection: psycopg.Connection) -> None:
        if dice.random() < 0.1:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%ledger_post%'"
                " AND state <> 'idle' ORDER BY random() LIMIT 1) AS one"
            )

    return kill


def in_balance(crowd: Crowd) -> Callable[[psycopg.Connection], object]:
    """Whenever one looks: debits are credits, posted and pending."""

    def look(connection: psycopg.Connection) -> None:
        found = crowd.rows(
            connection,
            "SELECT sum(posted), sum(pending) FROM ("
            " SELECT debits_posted - credits_posted AS posted, debits_pending - credits_pending AS pending"
            " FROM {}.ledger_balance UNION ALL"
            " SELECT CASE side WHEN 'debit' THEN posted ELSE -posted END,"
            " CASE side WHEN 'debit' THEN pending ELSE -pending END FROM {}.ledger_queue) AS t",
        )
        assert found == [(0, 0)]

    return look


@pytest.fixture
def crowd(migrated) -> Crowd:
    url, schema = migrated
    ledger = Ledger()
    ledger.bind(schema)
    with psycopg.connect(url) as connection:
        for code, (side, limit) in ACCOUNTS.items():
            ledger.accounts.open_blocking(connection, code, currency="EUR", side=side, limit=limit)  # type: ignore[arg-type]
        connection.commit()
        ledger.post_all_blocking(connection, made_of(0, 0))  # type: ignore[arg-type]
    return Crowd(url, schema, [], ledger)


def gather(crowd: Crowd, seed: int, transactions: int) -> None:
    """Let them all go, and look at what is left."""
    log.info("seed %s", seed)
    crowd.items = made_of(seed, transactions * 5)
    beside = [
        lambda c: crowd.ledger.fold_blocking(c, limit=50),
        killing(crowd, seed),
        in_balance(crowd),
    ]
    with ThreadPoolExecutor(CROWD + len(beside)) as pool:
        others = [pool.submit(until_over, crowd, do) for do in beside]
        try:
            members = [pool.submit(member, crowd, seed + n, transactions) for n in range(CROWD)]
            for each in members:
                each.result()
        finally:
            crowd.over.set()
        for each in others:
            each.result()
    audit(crowd)


def audit(crowd: Crowd) -> None:
    """Tell the auditor everything that is in the books, in an order that the entries allow."""
    with psycopg.connect(crowd.url) as connection:
        kept = dict(crowd.rows(connection, "SELECT seq, key FROM {}.ledger_transfer ORDER BY seq"))
        refused = {row[0] for row in crowd.rows(connection, "SELECT key FROM {}.ledger_refusal")}
        abouts = crowd.rows(
            connection,
            "SELECT seq, about FROM {}.ledger_transfer WHERE about IS NOT NULL ORDER BY seq",
        )
        steps = crowd.rows(
            connection,
            "SELECT e.transfer, lag(e.transfer) OVER (PARTITION BY e.account ORDER BY e.version) FROM {}.ledger_entry e"
            " JOIN {}.ledger_account a ON a.id = e.account AND a.limited <> 'none'",
        )
    assert crowd.accepted <= set(kept.values())
    assert crowd.refused <= refused
    assert not refused & set(kept.values())
    order: graphlib.TopologicalSorter[int] = graphlib.TopologicalSorter(dict.fromkeys(kept, ()))
    for seq, before in steps:
        if before is not None:
            order.add(seq, before)
    for seq, about in abouts:
        order.add(seq, about)
    by_key = {str(each.id): each for each in crowd.items}
    auditor = Auditor(Account(code, "EUR", side, limit) for code, (side, limit) in ACCOUNTS.items())
    for seq in order.static_order():
        (outcome,), _ = auditor.post([by_key[kept[seq]]])
        assert outcome == "created", f"{by_key[kept[seq]]} should have been refused: {outcome}"
    with psycopg.connect(crowd.url) as connection:
        for code, expected in auditor.totals().items():
            b = crowd.ledger.balance_blocking(connection, code)
            found = (b.debits_posted, b.credits_posted, b.debits_pending, b.credits_pending)
            assert found == expected, code
    log.info("%s said, %s in the books, %s refused", crowd.said, len(kept), len(refused))


async def test_what_a_crowd_was_granted_could_have_been_granted_in_a_row(crowd: Crowd) -> None:
    gather(crowd, seed=random.randrange(10**6), transactions=40)
    await is_sound_at(crowd.url, crowd.schema)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_large_crowd(crowd: Crowd) -> None:
    gather(crowd, seed=random.randrange(10**6), transactions=2000)
    assert crowd.said > 20_000
    await is_sound_at(crowd.url, crowd.schema)
