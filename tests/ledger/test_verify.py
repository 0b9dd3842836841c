"""Verifying finds what a superuser has done behind the ledger's back, each thing by its name, and nothing in sound books."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.harness.postgres import binaries, create_database
from tests.ledger.conftest import Books, eur
from tests.ledger.days import a_day
from troth.ledger import Ledger, Transfer
from troth.ledger.seal import head, seal, seal_all
from troth.ledger.verify import CHECKS, Report, verify
from troth.store.connect import connect_async
from troth.store.isolation import transaction_async


async def verified(books: Books, anchor: tuple[int, bytes] | None = None) -> Report:
    async with transaction_async(books.tx, "repeatable read"):
        return await verify(books.tx, books.cell.schema, anchor=anchor)


async def sealed(books: Books) -> None:
    async with transaction_async(books.tx, "read committed"):
        await seal_all(books.tx, books.cell.schema)


async def behind_its_back(books: Books, *statements: str) -> None:
    """As a superuser who knows what he does: no trigger fires."""
    await books.tx.execute("SET session_replication_role = replica")
    for statement in statements:
        await books.tx.execute(statement.replace("{}", books.cell.schema))  # type: ignore[arg-type]
    await books.tx.execute("RESET session_replication_role")


@asynccontextmanager
async def planting(books: Books, statement: str) -> AsyncIterator[None]:
    """As `behind_its_back`, until this is left."""
    await books.tx.set_isolation_level(None)
    async with books.tx.transaction(force_rollback=True):
        await behind_its_back(books, statement)
        yield


@pytest.fixture
async def day(books: Books) -> Books:
    await a_day(books)
    await sealed(books)
    return books


async def test_sound_books_are_found_sound(day: Books) -> None:
    report = await verified(day)
    assert report.findings == ()
    assert report.is_sound
    assert [each.check for each in report.checks] == list(CHECKS)
    assert (report.accounts, report.transfers, report.refusals) == (9, 13, 2)
    assert report.queued == 2
    assert report.entries + report.queued == 2 * 11 + 2 * 4
    assert report.blocks == 1


async def test_empty_books_are_sound(books: Books) -> None:
    report = await verified(books)
    assert report.is_sound
    assert report.blocks == 0


NUMBER = "(SELECT seq FROM {}.ledger_transfer WHERE key = '%s')"
ACCOUNT = "(SELECT id FROM {}.ledger_account WHERE code = '%s')"

PLANTED = {
    "an amount": (
        f"UPDATE {{}}.ledger_transfer SET amount = 6000 WHERE seq = {NUMBER % 'top-up'}",
        {"legs", "blocks"},
    ),
    "an account": (
        f"UPDATE {{}}.ledger_transfer SET credit = {ACCOUNT % 'equity:capital'} WHERE seq = {NUMBER % 'top-up'}",
        {"legs", "blocks"},
    ),
    "a word": (
        f"UPDATE {{}}.ledger_transfer SET code = 'gift' WHERE seq = {NUMBER % 'fee'}",
        {"blocks"},
    ),
    "metadata": (
        f"UPDATE {{}}.ledger_transfer SET metadata = '{{\"n\": 2}}' WHERE seq = {NUMBER % 'top-up'}",
        {"blocks"},
    ),
    "a time": (
        f"UPDATE {{}}.ledger_transfer SET booked_at = booked_at - interval '1 day' WHERE seq = {NUMBER % 'last'}",
        {"legs", "blocks"},
    ),
    "the name of an account": (
        "UPDATE {}.ledger_account SET code = 'income:other' WHERE code = 'income:sales'",
        {"blocks"},
    ),
    "the currency of an account": (
        "UPDATE {}.ledger_account SET currency = 'USD' WHERE code = 'income:sales'",
        {"trial", "transfers", "blocks"},
    ),
    "a transfer that is gone": (
        f"DELETE FROM {{}}.ledger_transfer WHERE seq = {NUMBER % 'fx'}",
        {"legs", "reversals", "ids", "blocks"},
    ),
    "a refusal that is gone": (
        "DELETE FROM {}.ledger_refusal WHERE key = 'beyond'",
        {"ids", "blocks"},
    ),
    "what a refusal says": (
        "UPDATE {}.ledger_refusal SET outcome = 'exceeds_debits' WHERE key = 'beyond'",
        {"blocks"},
    ),
    "a transfer that nobody posted": (
        (
            "INSERT INTO {}.ledger_transfer (seq, id, booked_at, effective_at, debit, credit, amount, kind)"
            f" SELECT 999 * 8192, gen_random_uuid(), now(), now(), {ACCOUNT % 'assets:bank'}, {ACCOUNT % 'income:sales'}, 1, 'transfer'"
        ),
        {"legs", "ids", "blocks"},
    ),
    "one more in an old call": (
        (
            "INSERT INTO {}.ledger_transfer (seq, id, booked_at, effective_at, debit, credit, amount, kind)"
            f" SELECT {NUMBER % 'last'} + 7, gen_random_uuid(), now(), now(), {ACCOUNT % 'assets:bank'}, {ACCOUNT % 'income:sales'}, 1,"
            " 'transfer'"
        ),
        {"legs", "ids", "blocks"},
    ),
    "a balance": (
        f"UPDATE {{}}.ledger_balance SET credits_posted = credits_posted + 1 WHERE account = {ACCOUNT % 'liabilities:wallet:ann'}",
        {"trial", "balances"},
    ),
    "a running total": (
        f"UPDATE {{}}.ledger_entry SET credits_posted = credits_posted + 1 WHERE account = {ACCOUNT % 'assets:bank'} AND version = 1",
        {"entries"},
    ),
    "an entry that is gone": (
        f"DELETE FROM {{}}.ledger_entry WHERE account = {ACCOUNT % 'assets:bank'} AND version = 2",
        {"legs", "entries"},
    ),
    "a leg in the queue": (
        "UPDATE {}.ledger_unfolded SET debits = 0, accounts = accounts[2:], posted = posted[2:]",
        {"trial", "legs"},
    ),
    "a leg twice in the queue": (
        (
            "UPDATE {}.ledger_unfolded SET debits = 2, numbers = '{0,0,0,0}', posted = posted || posted,"
            " accounts = accounts[:1] || accounts[:1] || accounts[2:] || accounts[2:]"
        ),
        {"legs"},
    ),
    "what is left of a hold": (
        f"UPDATE {{}}.ledger_hold SET remaining = 400 WHERE transfer = {NUMBER % 'hold:3'}",
        {"holds", "pending"},
    ),
    "a hold that was let go": (
        f"UPDATE {{}}.ledger_hold SET remaining = 1000, state = 'open' WHERE transfer = {NUMBER % 'hold:2'}",
        {"holds", "pending"},
    ),
    "how much was reversed": (
        f"UPDATE {{}}.ledger_reversed SET amount = 100 WHERE transfer = {NUMBER % 'sale:1'}",
        {"reversals"},
    ),
    "an id that is free again": (
        "DELETE FROM {}.ledger_id WHERE seq = " + NUMBER % "top-up",
        {"ids"},
    ),
    "a limit": (
        "UPDATE {}.ledger_account SET limited = 'credits_must_not_exceed_debits' WHERE code = 'income:sales'",
        {"limits"},
    ),
    "the end of a closed period": (
        (
            "INSERT INTO {}.ledger_checkpoint (through, account, debits_posted, credits_posted, from_version)"
            f" SELECT through, {ACCOUNT % 'assets:bank'}, 100001, 35, 3 FROM {{}}.ledger_period"
        ),
        {"periods"},
    ),
    "a block that is gone": ("DELETE FROM {}.ledger_block", {"blocks"}),
    "a block": ("UPDATE {}.ledger_block SET hash = sha256('x')", {"blocks"}),
    "what a block had": (
        "UPDATE {}.ledger_block SET digests = overlay(digests PLACING '\\x00'::bytea FROM 1)",
        {"blocks"},
    ),
}


async def test_a_planted_edit_is_found_by_the_checks_that_should(day: Books) -> None:
    differ = {}
    for planted, (statement, checks) in PLANTED.items():
        async with planting(day, statement):
            report = await verify(day.tx, day.cell.schema)
        found = {each.check for each in report.checks if each.wrong}
        if found != checks or report.is_sound:
            differ[planted] = report.findings
    assert differ == {}
    assert (await verified(day)).is_sound


async def test_what_was_changed_is_named(day: Books) -> None:
    number = await day.cell.value("SELECT seq FROM {}.ledger_transfer WHERE key = 'top-up'")
    await behind_its_back(day, "UPDATE {}.ledger_transfer SET amount = 6000 WHERE key = 'top-up'")
    told = {each.problem for each in (await verified(day)).findings if each.check == "blocks"}
    assert told == {f"block 1: number {number} was changed"}


async def test_many_findings_are_counted_and_the_first_are_told(day: Books) -> None:
    await behind_its_back(
        day, "UPDATE {}.ledger_entry SET credits_posted = credits_posted + version"
    )
    entries = next(each for each in (await verified(day)).checks if each.check == "entries")
    assert entries.wrong == await day.count("entry")
    assert len(entries.findings) == 20


# The chain ------------------------------------------------------------------------------------------------------------


async def test_blocks_follow_each_other_and_a_missing_one_is_named(day: Books) -> None:
    for number in (1, 2):
        await day.post(Transfer(f"more:{number}", "assets:bank", "income:sales", eur(number)))
        await sealed(day)
    assert (await verified(day)).blocks == 3
    assert (await verified(day)).is_sound
    await behind_its_back(day, "DELETE FROM {}.ledger_block WHERE number = 2")
    told = [each.problem for each in (await verified(day)).findings]
    assert "block 2 is gone" in told
    assert "block 3 does not follow the block before it" in told


async def test_a_rewritten_chain_is_found_by_a_head_that_was_kept(day: Books) -> None:
    """Who can write everything can make a chain of new hashes: then only what is kept elsewhere tells."""
    kept = await head(day.tx, day.cell.schema)
    await behind_its_back(
        day,
        "UPDATE {}.ledger_transfer SET code = 'gift' WHERE key = 'fee'",
        "INSERT INTO {}.ledger_unsealed SELECT unnest(batches) FROM {}.ledger_block",
        "DELETE FROM {}.ledger_block",
    )
    await sealed(day)
    assert (await verified(day)).is_sound
    told = [each.problem for each in (await verified(day, kept)).findings]
    assert told == [f"block 1 is not the one whose hash was kept: {kept[1].hex()}"]
    assert [each.problem for each in (await verified(day, (9, kept[1]))).findings] == [
        "block 9, whose hash was kept, is gone"
    ]


async def test_a_call_that_commits_late_is_sealed_in_a_later_block(books: Books) -> None:
    """Numbers are given out before transactions commit: a cursor over them would pass over the late one."""
    await books.open("a", "b")
    late = await books.cell.session()
    async with transaction_async(late, "read committed"):
        await books.ledger.post(late, Transfer("late", "a", "b", eur(1)))
        await books.post(Transfer("early", "a", "b", eur(2)))
        await sealed(books)
    async with transaction_async(books.tx, "read committed"):
        block = await seal(books.tx, books.cell.schema)
    assert block is not None
    assert block.number == 2
    assert len(block.seqs) == 1
    report = await verified(books)
    assert report.is_sound, report.findings


async def test_of_two_that_seal_at_once_one_makes_the_block(books: Books) -> None:
    await books.open("a", "b")
    await books.post(Transfer("one", "a", "b", eur(1)))
    other = await books.cell.session()
    async with transaction_async(books.tx, "read committed"):
        first = await seal(books.tx, books.cell.schema)
        second = await books.cell.blocked(seal_in(other, books.cell.schema), other, books.tx)
    assert first is not None
    assert await second is None
    assert await books.count("block") == 1
    assert await books.count("unsealed") == 0


async def seal_in(session, schema):
    async with transaction_async(session, "read committed"):
        return await seal(session, schema)


async def test_blocks_cannot_be_rewritten(day: Books) -> None:
    for statement in (
        "UPDATE {}.ledger_block SET number = 7",
        "DELETE FROM {}.ledger_block",
        "TRUNCATE {}.ledger_block",
    ):
        with pytest.raises(Exception, match="append-only"):
            await day.tx.execute(statement.replace("{}", day.cell.schema))  # type: ignore[arg-type]


async def test_books_that_were_dumped_and_restored_are_as_sound_as_before(
    day: Books, database_url: str, tmp_path: Path
) -> None:
    """Nothing in the chain depends on the server: not its transaction ids, not its clock, not the order of its rows."""
    kept = await head(day.tx, day.cell.schema)
    elsewhere = create_database(database_url, "restored")
    dump = str(tmp_path / "books.sql")
    for command in (
        ["pg_dump", "--schema", day.cell.schema, "--file", dump, "--dbname", day.cell.url],
        ["psql", "--quiet", "--set=ON_ERROR_STOP=1", "--file", dump, "--dbname", elsewhere],
    ):
        program = str(binaries() / command[0])
        await asyncio.to_thread(subprocess.run, [program, *command[1:]], check=True, capture_output=True)  # fmt: skip
    async with await connect_async(elsewhere) as there:
        async with transaction_async(there, "repeatable read"):
            report = await verify(there, day.cell.schema, anchor=kept)
        assert report.is_sound, report.findings
        assert report.transfers == 13
        books = Ledger()
        books.bind(day.cell.schema)
        await books.post(there, Transfer("after", "assets:bank", "income:sales", eur(1)))
        async with transaction_async(there, "read committed"):
            await seal_all(there, day.cell.schema)
        async with transaction_async(there, "repeatable read"):
            report = await verify(there, day.cell.schema, anchor=kept)
    assert report.is_sound, report.findings
    assert report.blocks == 2
