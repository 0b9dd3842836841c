"""What reading our own side of a reconciliation costs beside years of history: `python -m bench.sources [MILLIONS] [--write]`.

So many entries of one account, over a year, and so many entries of journals, over eight weeks, are made by SQL. Then windows of
them are read page by page, as a run does it. What each statement looks at is explained, for a page in the middle.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from bench.population import SCHEMA, server
from bench.results import write
from troth import Call, Money, Provider, Troth
from troth.reconcile import Window
from troth.reconcile.sources.books import Postings
from troth.reconcile.sources.effects import Effects, Moved
from troth.store.connect import AsyncConnection, AsyncPool, pool_async

MARK = "bench.sources"
YEAR, WEEKS = timedelta(days=365), timedelta(days=56)

# One in a hundred counts on another day than that of its booking, and one in a thousand came late.
BOOKS = """
INSERT INTO {schema}.ledger_account (code, currency, side, limited, opened_at)
VALUES ('assets:bank', 'EUR', 'debit', 'none', now() - interval '2 years'), ('income', 'EUR', 'credit', 'none', now() - interval '2 years');
CREATE TEMP TABLE made AS
SELECT n, t - CASE WHEN n % 1000 = 0 THEN interval '10 s' ELSE interval '0' END AS booked_at,
       t - CASE WHEN n % 1000 = 0 THEN interval '10 s' WHEN n % 100 = 7 THEN interval '2 days' ELSE interval '0' END AS effective_at,
       CASE WHEN n % 1000 = 0 THEN t END AS late_after
FROM generate_series(1, {count}) n, LATERAL (SELECT now() - interval '365 days' * (1 - 1.0 * n / {count}) AS t) at;
INSERT INTO {schema}.ledger_transfer (seq, id, booked_at, effective_at, debit, credit, amount, kind, key, code)
SELECT 8192::bigint * n, md5(n::text)::uuid, booked_at, effective_at, a.id, b.id, 100, 'transfer', 'sale:' || n, 'sale'
FROM made, {schema}.ledger_account a, {schema}.ledger_account b WHERE a.code = 'assets:bank' AND b.code = 'income';
INSERT INTO {schema}.ledger_entry (account, version, transfer, booked_at, effective_at, posted, pending, late_after, side, debits_posted,
    credits_posted, debits_pending, credits_pending)
SELECT a.id, n, 8192::bigint * n, booked_at, effective_at, 100, 0, late_after, 'debit', 100 * n, 0, 0, 0
FROM made, {schema}.ledger_account a WHERE a.code = 'assets:bank';
DROP TABLE made;
INSERT INTO {schema}.ledger_balance SELECT a.id, {count}, now(), interval '10 s', 100 * {count}::numeric, 0, 0, 0
FROM {schema}.ledger_account a WHERE a.code = 'assets:bank'
"""

# Half of the runs have charged: an intent and a result each.
JOURNAL = """
SELECT {schema}.ensure_partitions(now() - interval '9 weeks', now() + interval '1 week');
CREATE TEMP TABLE made AS
SELECT n, t, (overlay({schema}.first_id(t)::text PLACING lpad(to_hex(n), 12, '0') FROM 25 FOR 12))::uuid AS id
FROM generate_series(1, {count} / 2) n, LATERAL (SELECT now() - interval '56 days' * (1 - 2.0 * n / {count}) AS t) at;
INSERT INTO {schema}.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
SELECT id, CASE n % 2 WHEN 0 THEN 'charge' ELSE 'mail' END, k, 1, k, CASE k WHEN 2 THEN true END, '\\x00', '{payload}', t + interval '1 s' * k
FROM made, generate_series(1, 2) k;
INSERT INTO {schema}.run_history (id, workflow, key, input, state, claim, starts_at, outcome)
SELECT id, 'pay', NULL, '[]', 'succeeded', 1, t, '1' FROM made;
DROP TABLE made
"""

troth = Troth("postgresql://nobody@127.0.0.1:1/none", schema=SCHEMA)


@troth.effect(provider=Provider("bank"), delivery="at_most_once", timeout=5)
async def charge(call: Call, money: Money) -> str:
    return f"{call.key}: {money}"


def _moved(money: Money) -> Moved:
    return Moved(money, "charge")


class Asked:
    """Connections that remember what was asked on them."""

    def __init__(self, pool: AsyncPool) -> None:
        self.pool = pool
        self.queries: list[tuple[Any, Any]] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        async with self.pool.connection() as connection:
            execute = connection.execute

            async def remembered(query: Any, params: Any = None, **more: Any) -> Any:
                self.queries.append((query, params))
                return await execute(query, params, **more)

            connection.execute = remembered  # type: ignore[method-assign, assignment]
            try:
                yield connection
            finally:
                del connection.execute


def peak_mb(*, forget: bool = False) -> int:
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [
        each
        for each in Path("/proc/self/status").read_text().splitlines()
        if each.startswith("VmHWM")
    ]
    return int(line.split()[1]) // 1024


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


async def looked_at(connection: AsyncConnection, query: Any, params: Any) -> tuple[int, bool]:
    """How many rows a statement looks at, and whether it reads all of a table of more than a page."""
    explained = await connection.execute(
        f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {query}", params
    )
    row = await explained.fetchone()
    assert row is not None
    rows, whole = 0, False
    for node in nodes(row[0][0]["Plan"]):
        if "Relation Name" in node:
            seen = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node[
                "Actual Loops"
            ]
            rows += int(seen)
            whole = whole or (node["Node Type"] == "Seq Scan" and seen > 10_000)
    return rows, whole


async def read(url: str, name: str, source: Any, window: Window) -> str:
    pool = pool_async(url, 1, 2)
    await pool.open()
    asked = Asked(pool)
    within = source.within(SCHEMA, asked)
    before, begun = peak_mb(forget=True), time.perf_counter()
    cursor, items, pages = None, 0, 0
    slowest = 0.0
    while True:
        at = time.perf_counter()
        page = await within.page(cursor, window)
        slowest = max(slowest, time.perf_counter() - at)
        items, pages, cursor = items + len(page.items), pages + 1, page.next
        if cursor is None:
            break
    seconds, peak = time.perf_counter() - begun, peak_mb()
    assert page.count == items, f"{page.count} are counted, {items} were given"
    async with pool.connection() as connection:
        most, whole = 0, False
        middle = len(asked.queries) // 2
        for query, params in (asked.queries[n] for n in (0, 1, middle, -2)):
            rows, seq = await looked_at(connection, query, params)
            most, whole = max(most, rows), whole or seq
        counting, seq = await looked_at(connection, *asked.queries[-1])
    await pool.close()
    days = (window.until - window.since) / timedelta(days=1)
    return (
        f"| {name}, {days:g} days | {items:,} | {pages:,} | {seconds:.1f} | {items / max(seconds, 0.001):,.0f} | {slowest:.2f} "
        f"| {most:,} | {counting:,} | {'yes' if whole or seq else 'no'} | {peak - before} |"
    )


def fill(url: str, count: int) -> None:
    payload = charge.arguments.encode((Money(100, "EUR"),), {}).decode()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for script in (BOOKS, JOURNAL):
            for statement in script.format(schema=SCHEMA, count=count, payload=payload).split(
                ";\n"
            ):
                if statement.strip():
                    connection.execute(statement)  # type: ignore[call-overload]
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


async def measure(url: str, millions: float) -> str:
    now = datetime.now(UTC)
    lines = [
        "## Our side of a reconciliation",
        "",
        (
            "`python -m bench.sources 10` reads windows of our own tables page by page, as a run does. There are "
            f"{millions:g} million entries of one account, over a year, and as many of journals, over eight weeks."
        ),
        "",
        "| window | items | pages | s | items/s | slowest page, s | rows that a page looks at | rows to count | seq scan | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    bank, charges = Postings("assets:bank"), Effects(charge, _moved)
    quick = Effects(charge, _moved, reach=timedelta(hours=1))
    for days in (1, 7, 30):
        middle = now - YEAR / 2
        lines.append(
            await read(url, "an account", bank, Window(middle, middle + timedelta(days=days)))
        )
    middle = now - timedelta(days=8)
    for days in (1, 7):
        window = Window(middle, middle + timedelta(days=days))
        lines.append(await read(url, "effects, reach 35 days", charges, window))
        lines.append(await read(url, "effects, reach 1 hour", quick, window))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sources")
    parser.add_argument("millions", type=float, nargs="?", default=10)
    parser.add_argument("--keep", type=Path, help="a directory for the database, filled once")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    options = parser.parse_args()
    with server(options.keep, lambda url: fill(url, int(options.millions * 1e6))) as url:
        table = asyncio.run(measure(url, options.millions))
    print(table)
    if options.write:
        write(MARK, table)


if __name__ == "__main__":
    main()
