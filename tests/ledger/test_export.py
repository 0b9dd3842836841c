"""hledger and Beancount, which know nothing of troth, work out the same balances from what is exported."""

from __future__ import annotations

import asyncio
import csv
import io
import subprocess
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from tests.ledger.conftest import Books
from tests.ledger.days import a_day
from troth import Money, UsageError
from troth.cli import main
from troth.ledger import Transfer
from troth.ledger.against import against_hledger
from troth.ledger.export import Format, beancount_name, export, hledger_name, journal_for
from troth.store.isolation import transaction_async

HLEDGER = "/usr/bin/hledger"
BEAN_CHECK = "/usr/bin/bean-check"
BEAN_QUERY = "/usr/bin/bean-query"


@pytest.fixture(autouse=True)
def outsiders() -> None:
    """What is skipped proves nothing, so a machine without them fails."""
    missing = [each for each in (HLEDGER, BEAN_CHECK, BEAN_QUERY) if not Path(each).exists()]
    if missing:
        pytest.fail(
            f"no {', '.join(missing)}: `make outsiders` brings them, on Debian, if root runs it"
        )


async def exported(books: Books, program: Format, path: Path) -> Path:
    async with transaction_async(books.tx, "repeatable read"):
        pieces = [
            piece async for piece in export(books.tx, books.cell.schema, journal_for(program))
        ]
    return kept(path, "".join(pieces))


def kept(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


async def expected(books: Books) -> dict[tuple[str, str], Decimal]:
    """Debits less credits of each account that was used, as the ledger says."""
    found = {}
    for account in await books.ledger.accounts.under(books.tx):
        balance = await books.balance(account.code)
        net = balance.debits_posted - balance.credits_posted
        if balance.debits_posted or balance.credits_posted:
            found[account.code, account.currency] = Money(net, account.currency).decimal
    return found


def ran(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def refuses(command: list[str], path: Path, before: str, after: str) -> bool:
    """Does the program find fault with the journal once one amount is another?"""
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


async def test_hledger_comes_to_the_same_balances(books: Books, tmp_path: Path) -> None:
    await a_day(books)
    journal = str(await exported(books, "hledger", tmp_path / "books.journal"))
    ran(HLEDGER, "-f", journal, "check", "accounts")
    printed = ran(
        HLEDGER, "-f", journal, "balance", "-N", "-E", "--flat", "-O", "csv", "--layout=bare"
    )
    rows = csv.DictReader(io.StringIO(printed))
    found = {(row["account"], row["commodity"]): Decimal(row["balance"]) for row in rows}
    wanted = {
        (hledger_name(code), unit): net for (code, unit), net in (await expected(books)).items()
    }
    assert {key: net for key, net in found.items() if key in wanted} == wanted
    assert len(wanted) == 8
    for unit in ("EUR", "JPY"):
        assert sum(net for (_, each), net in found.items() if each == unit) == 0


async def test_verify_has_hledger_add_it_all_up(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    await a_day(books)
    await books.open("zz:Ärmel & Söhne (50%)", side="debit")
    await books.post(Transfer("odd", "zz:Ärmel & Söhne (50%)", "income:sales", Money(1, "EUR")))
    where = ("--database-url", books.cell.url, "--schema", books.cell.schema)

    async def verified() -> tuple[int, str]:
        words = ["ledger", "verify", "--against", "hledger", *where]
        return await asyncio.to_thread(main.run, words), capsys.readouterr().out

    code, out = await verified()
    assert (code, "hledger    ok " in out) == (0, True), out
    # A balance that says something else than the transfers, for whatever reason: hledger has it from the transfers.
    await books.tx.execute("SET session_replication_role = replica")
    await books.tx.execute(
        f"UPDATE {books.cell.schema}.ledger_balance SET debits_posted = debits_posted + 5"
        f" WHERE account = (SELECT id FROM {books.cell.schema}.ledger_account WHERE code = 'expenses:fees')"
    )
    code, out = await verified()
    assert code == 1
    assert "hledger    1 WRONG" in out
    assert "expenses:fees: debits less credits are 0.40 EUR, and 0.35 by hledger" in " ".join(
        out.split()
    )


async def test_a_program_that_is_not_there_is_told(books: Books, tmp_path: Path) -> None:
    async with transaction_async(books.tx, "repeatable read"):
        with pytest.raises(UsageError, match=r"there is no program .*install hledger"):
            await against_hledger(books.tx, books.cell.schema, str(tmp_path / "hledger"))
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho no such journal >&2\nexit 3\n")
    program.chmod(0o755)
    async with transaction_async(books.tx, "repeatable read"):
        found = await against_hledger(books.tx, books.cell.schema, str(program))
    assert (found.wrong, found.findings[0].problem) == (1, "exit code 3: no such journal")


async def test_beancount_comes_to_the_same_balances(books: Books, tmp_path: Path) -> None:
    await a_day(books)
    journal = str(await exported(books, "beancount", tmp_path / "books.beancount"))
    assert ran(BEAN_CHECK, journal) == ""
    query = "SELECT account, currency, sum(number) GROUP BY account, currency"
    rows = csv.DictReader(io.StringIO(ran(BEAN_QUERY, "-f", "csv", journal, query)))
    found = {
        (row["account"].strip(), row["currency"].strip()): Decimal(row["sum_number"].strip())
        for row in rows
    }
    sides = {each.code: each.side for each in await books.ledger.accounts.under(books.tx)}
    wanted = {
        (beancount_name(code, sides[code]), unit): net
        for (code, unit), net in (await expected(books)).items()
    }
    assert {key: found[key] for key in wanted} == wanted
    assert len(found) == len(wanted)


async def test_a_journal_that_was_changed_is_not_balanced_any_more(
    books: Books, tmp_path: Path
) -> None:
    """So that what the two programs say above means something."""
    await a_day(books)
    for program, check in (("hledger", [HLEDGER, "check", "-f"]), ("beancount", [BEAN_CHECK])):
        path = await exported(books, program, tmp_path / program)  # type: ignore[arg-type]
        assert refuses([*check, str(path)], path, "50.00 EUR", "50.01 EUR")


async def test_any_code_is_one_account_of_hledger(books: Books, tmp_path: Path) -> None:
    strange = ["a  b", "x;y", "*star", "(v)", "ümlaut", "a:b c", "a|b", "tab\tq", "=", "~x"]
    await books.open("other", *strange)
    for number, code in enumerate(strange):
        await books.post(
            Transfer(
                f"{number}", code, "other", Money(5, "EUR"), code="; not a comment\n  x  5 EUR"
            )
        )
    journal = str(await exported(books, "hledger", tmp_path / "books.journal"))
    found = set(ran(HLEDGER, "-f", journal, "accounts", "--used").splitlines())
    assert found == {hledger_name(code) for code in ["other", *strange]}


def test_names_do_not_meet() -> None:
    names = Counter(hledger_name(code) for code in ("a b", "a%20b", "a:b", "a  b", "A b"))
    assert max(names.values()) == 1


def test_beancount_has_five_roots() -> None:
    assert beancount_name("assets:stripe:balance", "debit") == "Assets:Stripe:Balance"
    assert beancount_name("liabilities", "credit") == "Liabilities:Itself"
    assert beancount_name("clearing:ümlaut:7", "credit") == "Liabilities:Clearing:Mlaut:7"
    assert beancount_name("till", "debit") == "Assets:Till"


async def test_two_codes_that_look_alike_to_beancount_are_two_accounts(
    books: Books, tmp_path: Path
) -> None:
    await books.open("assets:a b", "assets:a-b")
    await books.post(Transfer("one", "assets:a b", "assets:a-b", Money(5, "EUR")))
    journal = str(await exported(books, "beancount", tmp_path / "books.beancount"))
    assert ran(BEAN_CHECK, journal) == ""
    assert ran(BEAN_QUERY, "-f", "csv", journal, "SELECT DISTINCT account").count("Assets") == 2
