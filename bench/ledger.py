"""What posting costs, beside two ledgers that a team would write: two UPDATEs from Python, and one call that locks rows.

    python -m bench.ledger [--seconds 4] [--rounds 3] [--entries 10000000] [--only NAME] [--write]

All take turns on one server, and a worker folds beside troth's. *hot*: every transfer has one and the same account on one side. *business transaction*: an
INSERT, a transfer on the hot account, 5 ms of other work, a commit. `--entries` fills the books first, by posting.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from psycopg_pool import AsyncConnectionPool

from bench.results import write
from troth.base.ids import new_id
from troth.base.money import Money
from troth.ledger import Hold, Ledger, PostHold, Transfer
from troth.ledger.group import Poster
from troth.store.connect import connect_blocking, pool_async
from troth.store.embedded import Embedded
from troth.store.migrate import migrate
from troth.worker.relays import Relays

CALLERS = 16
BUSINESS_CALLERS = 64
WORK_S = 0.005
SPREAD = 1000
WARM = 8  # after five times psycopg prepares a statement
ONE = Money(1, "EUR")

REFERENCES = """
CREATE TABLE naive_balance (account text PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE naive_transfer (id uuid PRIMARY KEY, debit text, credit text, amount bigint, at timestamptz DEFAULT now());
INSERT INTO naive_balance SELECT 'hot', 0 UNION ALL SELECT 'a' || i, 0 FROM generate_series(0, 999) i;
CREATE TABLE locked_account (id bigint PRIMARY KEY, version bigint NOT NULL, balance bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE locked_transfer (id uuid PRIMARY KEY, debit bigint, credit bigint, amount bigint, at timestamptz DEFAULT now());
CREATE TABLE locked_entry (account bigint, version bigint, transfer uuid, amount bigint, balance bigint,
                           PRIMARY KEY (account, version));
INSERT INTO locked_account SELECT i, 0, 0 FROM generate_series(0, 1000) i;
CREATE FUNCTION locked_post(p_id uuid, p_debit bigint, p_credit bigint, p_amount bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    a locked_account;
BEGIN
    INSERT INTO locked_transfer VALUES (p_id, p_debit, p_credit, p_amount) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM locked_account WHERE id IN (p_debit, p_credit) ORDER BY id FOR NO KEY UPDATE;
    UPDATE locked_account SET version = version + 1, balance = balance + p_amount WHERE id = p_debit RETURNING * INTO a;
    INSERT INTO locked_entry VALUES (p_debit, a.version, p_id, p_amount, a.balance);
    UPDATE locked_account SET version = version + 1, balance = balance - p_amount WHERE id = p_credit RETURNING * INTO a;
    INSERT INTO locked_entry VALUES (p_credit, a.version, p_id, -p_amount, a.balance);
    RETURN true;
END $$;
CREATE TABLE business (id uuid PRIMARY KEY, what text);
"""


@dataclass
class Field:
    """What all runs work with."""

    pool: AsyncConnectionPool
    ledger: Ledger
    url: str
    seconds: float


Once = Callable[[int, int], Awaitable[int]]


async def repeat(seconds: float, callers: int, once: Once) -> float:
    """*once(caller, n)* by so many callers at once; what it says that it did, per second. All connections are warm before."""

    async def warm(number: int) -> None:
        for n in range(WARM):
            await once(number, n)

    await asyncio.gather(*(warm(number) for number in range(callers)))
    done = 0
    end = time.perf_counter() + seconds
    began = time.perf_counter()

    async def caller(number: int) -> None:
        nonlocal done
        n = 0
        while time.perf_counter() < end:
            did = await once(number, n)
            done += did  # not `done += await …`: that reads what others add to meanwhile
            n += 1

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return done / (time.perf_counter() - began)


# The references -------------------------------------------------------------------------------------------------------


async def naive(field: Field) -> float:
    """Two UPDATEs and an INSERT from Python, one hot account."""

    async def once(caller: int, n: int) -> int:
        async with field.pool.connection() as c, c.transaction():
            await c.execute(
                "UPDATE naive_balance SET balance = balance + 1 WHERE account = %s", ("hot",)
            )
            other = f"a{(caller * 61 + n) % SPREAD}"
            await c.execute(
                "UPDATE naive_balance SET balance = balance - 1 WHERE account = %s", (other,)
            )
            await c.execute(
                "INSERT INTO naive_transfer VALUES (%s, %s, %s, 1)", (new_id(), "hot", other)
            )
        return 1

    return await repeat(field.seconds, CALLERS, once)


async def locked(field: Field) -> float:
    """One call of a function that locks both rows, one hot account."""

    async def once(caller: int, n: int) -> int:
        async with field.pool.connection() as c:
            await c.execute(
                "SELECT locked_post(%s, 0, %s, 1)", (new_id(), 1 + (caller * 61 + n) % SPREAD)
            )
        return 1

    return await repeat(field.seconds, CALLERS, once)


async def locked_business(field: Field) -> float:
    """The same in a business transaction."""

    async def once(caller: int, n: int) -> int:
        async with field.pool.connection() as c, c.transaction():
            await c.execute("INSERT INTO business VALUES (%s, 'order')", (new_id(),))
            await c.execute(
                "SELECT locked_post(%s, 0, %s, 1)", (new_id(), 1 + (caller * 61 + n) % SPREAD)
            )
            await asyncio.sleep(WORK_S)
        return 1

    return await repeat(field.seconds, BUSINESS_CALLERS, once)


# troth ----------------------------------------------------------------------------------------------------------------


def single(hot: str) -> Callable[[Field], Awaitable[float]]:
    async def run(field: Field) -> float:
        async with field.ledger.poster(field.url) as poster:

            async def once(caller: int, n: int) -> int:
                other = f"spread:{(caller * 61 + n) % SPREAD}"
                await poster.post(Transfer(new_id(), hot, other, ONE))
                return 1

            return await repeat(field.seconds, CALLERS, once)

    return run


async def spread(field: Field) -> float:
    """Single transfers between 1,000 accounts."""
    async with field.ledger.poster(field.url) as poster:

        async def once(caller: int, n: int) -> int:
            debit = (caller * 61 + n) % SPREAD
            await poster.post(
                Transfer(new_id(), f"spread:{debit}", f"spread:{(debit + 7) % SPREAD}", ONE)
            )
            return 1

        return await repeat(field.seconds, CALLERS, once)


def batches(hot: str, size: int) -> Callable[[Field], Awaitable[float]]:
    async def run(field: Field) -> float:
        async with field.ledger.poster(field.url, batch=size) as poster:
            return await repeat(
                field.seconds, 4, lambda caller, n: post_batch(poster, hot, size, caller, n)
            )

    return run


async def post_batch(poster: Poster, hot: str, size: int, caller: int, n: int) -> int:
    found = await poster.try_post_all(
        [
            Transfer(new_id(), hot, f"spread:{(caller * 61 + n + i) % SPREAD}", ONE)
            for i in range(size)
        ]
    )
    return sum(result.outcome == "created" for result in found)


async def holds(field: Field) -> float:
    """A hold on a limited hot account and its posting: two transfers each."""
    async with field.ledger.poster(field.url) as poster:

        async def once(caller: int, n: int) -> int:
            hold = new_id()
            await poster.post(Hold(hold, "limited", f"spread:{(caller * 61 + n) % SPREAD}", ONE))
            await poster.post(PostHold(new_id(), hold))
            return 2

        return await repeat(field.seconds, CALLERS, once)


def business(hot: str) -> Callable[[Field], Awaitable[float]]:
    async def run(field: Field) -> float:
        async def once(caller: int, n: int) -> int:
            async with field.pool.connection() as c, c.transaction():
                await c.execute("INSERT INTO business VALUES (%s, 'order')", (new_id(),))
                other = f"spread:{(caller * 61 + n) % SPREAD}"
                await field.ledger.post(c, Transfer(new_id(), hot, other, ONE))
                await asyncio.sleep(WORK_S)
            return 1

        return await repeat(field.seconds, BUSINESS_CALLERS, once)

    return run


async def fold(url: str) -> None:
    """What a worker does meanwhile, in a process of its own."""
    ledger = Ledger(fold_every=0.2)
    ledger.bind("troth")
    await Relays(url, list(ledger.relays)).open()
    await asyncio.Event().wait()


RUNS: dict[str, tuple[str, Callable[[Field], Awaitable[float]]]] = {
    "naive": ("two UPDATEs from Python, 16 callers, hot", naive),
    "locked": ("one call with row locks, 16 callers, hot", locked),
    "single": ("**troth**, group posting, 16 callers, hot", single("hot")),
    "single-limited": ("**troth**, the same, hot account with a limit", single("limited")),
    "single-spread": ("**troth**, the same, 1,000 accounts", spread),
    "batch-100": ("**troth**, batches of 100, hot", batches("hot", 100)),
    "batch-100-limited": ("**troth**, batches of 100, hot account with a limit", batches("limited", 100)),
    "batch-1000": ("**troth**, batches of 1,000, hot", batches("hot", 1000)),
    "holds": ("**troth**, holds and their posting, hot account with a limit", holds),
    "business-locked": ("business transactions, one call with row locks, hot", locked_business),
    "business": ("**troth**, business transactions, hot", business("hot")),
    "business-limited": ("**troth**, business transactions, hot account with a limit", business("limited")),
}  # fmt: skip


AIMS = {"single": "≥ 20 ×", "batch-100": "≥ 30,000", "business": "≥ 1,000"}


async def measure(url: str, options: argparse.Namespace) -> dict[str, list[float]]:
    ledger = Ledger()
    ledger.bind("troth")
    async with pool_async(url, BUSINESS_CALLERS + 4, BUSINESS_CALLERS + 4) as pool:
        await pool.wait()
        field = Field(pool, ledger, url, options.seconds)
        async with pool.connection() as c:
            for i in range(SPREAD):
                await ledger.accounts.open(c, f"spread:{i}", currency="EUR", side="credit")
            await ledger.accounts.open(c, "hot", currency="EUR", side="debit")
            limit = "debits_must_not_exceed_credits"
            await ledger.accounts.open(c, "limited", currency="EUR", side="credit", limit=limit)
            await ledger.accounts.open(c, "bank", currency="EUR", side="debit")
            await ledger.post(c, Transfer("all there is", "bank", "limited", Money(10**15, "EUR")))
            await ledger.fold(c)
        if options.entries:
            await fill(field, options.entries)
        figures: dict[str, list[float]] = {}
        for number in range(options.rounds):
            for name, (_, run) in RUNS.items():
                if options.only and not re.search(options.only, name):
                    continue
                figures.setdefault(name, []).append(await run(field))
                async with pool.connection() as c:  # what it has left is not the next one's work
                    while await ledger.fold(c, limit=5000):
                        pass
                print(f"round {number + 1}: {name}: {figures[name][-1]:,.0f}/s", file=sys.stderr)
        async with pool.connection() as c:
            totals = await ledger.trial_balance(c)
        assert all(total.is_balanced for total in totals), totals
        print(f"balanced: {totals}", file=sys.stderr)
    return figures


async def fill(field: Field, entries: int) -> None:
    """Post until there are so many entries."""
    began, left = time.perf_counter(), entries // 2
    async with field.ledger.poster(field.url, batch=1000) as poster:

        async def caller(number: int) -> None:
            nonlocal left
            n = 0
            while left > 0:
                left -= 1000
                await post_batch(poster, "hot", 1000, number, n)
                n += 17

        await asyncio.gather(*(caller(number) for number in range(4)))
    took = time.perf_counter() - began
    print(f"filled with {entries:,} entries in {took:.0f} s", file=sys.stderr)


def table(figures: dict[str, list[float]], options: argparse.Namespace) -> str:
    medians = {name: statistics.median(values) for name, values in figures.items()}
    lines = ["| | per second | beside two UPDATEs | aim |", "|---|---|---|---|"]
    for name, value in medians.items():
        beside = f"{value / medians['naive']:.1f} ×" if "naive" in medians else ""
        if name.startswith("business"):
            beside = ""
        lines.append(f"| {RUNS[name][0]} | {value:,.0f} | {beside} | {AIMS.get(name, '')} |")
    before = f", after {options.entries:,} entries" if options.entries else ""
    return (
        f"Medians of {options.rounds} rounds of {options.seconds:g} s{before}.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entries", type=int, default=0)
    parser.add_argument("--only")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--fold", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fold:
        asyncio.run(fold(options.fold))
        return
    with (
        tempfile.TemporaryDirectory(prefix="troth-bench-") as directory,
        Embedded.acquire(Path(directory)) as server,
    ):
        migrate(server.url, "troth")
        with connect_blocking(server.url) as connection:
            connection.execute(REFERENCES)
        folder = subprocess.Popen([sys.executable, "-m", "bench.ledger", "--fold", server.url])
        try:
            text = table(asyncio.run(measure(server.url, options)), options)
        finally:
            folder.kill()
            folder.wait()
    print(text)
    if options.write:
        write("bench.ledger", text)


if __name__ == "__main__":
    main()
