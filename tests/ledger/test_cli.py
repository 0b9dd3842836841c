"""`troth ledger` as a user meets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import psycopg
import pytest

from tests.harness.cell import open_cell
from tests.house.tree import ROOT
from tests.ledger.conftest import Books
from tests.ledger.days import a_day
from troth.cli import main
from troth.command.spelling import as_command

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def troth(migrated, capsys) -> Invoke:
    def invoke(*tokens: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main.run(["ledger", *tokens, "--database-url", migrated[0], "--schema", migrated[1]])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return invoke


@pytest.fixture
def day(migrated) -> None:
    async def make() -> None:
        async with open_cell(*migrated) as cell:
            await a_day(Books(cell, await cell.session()))

    asyncio.run(make())


def read(migrated, query: str) -> list[tuple]:
    with psycopg.connect(migrated[0]) as connection:
        return connection.execute(query.replace("{}", migrated[1])).fetchall()  # type: ignore[arg-type]


def test_accounts_are_a_tree(troth: Invoke, day: None) -> None:
    _, out, _ = troth("accounts", "-o", "json")
    assert len(json.loads(out)) == 9
    _, out, _ = troth("accounts", "assets:bank", "-o", "json")
    assert [each["code"] for each in json.loads(out)] == ["assets:bank", "assets:bank:eur"]
    _, out, _ = troth("accounts", "--tenant", "ann")
    lines = [line.split() for line in out.splitlines() if "wallet" in line]
    assert lines[0][:5] == ["liabilities:wallet:ann", "credit", "32.00", "EUR", "27.00"]
    _, out, err = troth("accounts", "--limit", "2")
    after = err.split()[-1]
    _, out, _ = troth("accounts", "--limit", "2", "--after", after, "-o", "json")
    assert [each["code"] for each in json.loads(out)] == ["assets:trading", "assets:trading jpy"]
    assert troth("accounts", "liab")[1] == "No accounts.\n"


def test_one_account_shows_what_is_on_it(troth: Invoke, day: None) -> None:
    code, out, _ = troth("show", "assets:bank")
    assert code == 0
    assert "posted     1,049.72" not in out  # amounts are as they are parsed
    assert "posted     1049.72 EUR" in out
    assert "unfolded   1" in out
    _, out, _ = troth("show", "assets:bank", "-o", "json")
    found = json.loads(out)
    assert found["version"] == len(found["entries"]) == 5
    code, _, err = troth("show", "nowhere")
    assert code == 1
    assert "no account 'nowhere'" in err


def test_entries_go_back_page_by_page(troth: Invoke, day: None) -> None:
    _, out, _ = troth("entries", "assets:bank", "-o", "jsonl")
    versions = [json.loads(line)["version"] for line in out.splitlines()]
    assert versions == [5, 4, 3, 2, 1]
    _, out, err = troth("entries", "assets:bank", "--limit", "2")
    assert "--before 4" in err
    _, out, _ = troth("entries", "assets:bank", "--limit", "2", "--before", "4", "-o", "jsonl")
    assert [json.loads(line)["version"] for line in out.splitlines()] == [3, 2]


def test_a_transfer_is_found_by_its_key_also_if_it_was_refused(troth: Invoke, day: None) -> None:
    _, out, _ = troth("transfers", "top-up", "-o", "json")
    (found,) = json.loads(out)
    assert found["legs"] == [["assets:bank", "EUR", 5000], ["liabilities:wallet:ann", "EUR", -5000]]
    assert found["metadata"] == {"n": 1}
    _, out, _ = troth("transfers", found["id"], "-o", "json")
    assert json.loads(out) == [found]
    _, out, _ = troth("transfers", "beyond", "-o", "json")
    assert json.loads(out)[0]["refused"] == "exceeds_credits"
    assert troth("transfers", "never")[1] == "No transfers.\n"
    _, out, _ = troth("transfers")
    assert "debit assets:bank 0.07 EUR, credit income:sales 0.07 EUR" in out
    _, out, _ = troth("transfers", "refund:1", "-o", "json")
    sale = json.loads(troth("transfers", "sale:1", "-o", "json")[1])[0]
    assert json.loads(out)[0]["about"] == sale["id"]


def test_the_trial_balance_is_a_line_for_each_currency(troth: Invoke, day: None, migrated) -> None:
    code, out, _ = troth("trial", "-o", "json")
    assert code == 0
    assert [(each["currency"], each["balanced"]) for each in json.loads(out)] == [
        ("EUR", True),
        ("JPY", True),
    ]
    with psycopg.connect(migrated[0]) as connection:
        connection.execute(
            f"UPDATE {migrated[1]}.ledger_balance SET debits_posted = debits_posted + 1"
        )
    code, out, _ = troth("trial")
    assert code == 1
    assert "NO" in out


def test_books_are_verified_sealed_and_held_to_a_head_that_was_kept(
    troth: Invoke, day: None, migrated
) -> None:
    code, out, _ = troth("verify")
    assert code == 0
    assert out.endswith("The books are sound.\n")
    page = (ROOT / "docs" / "operating" / "ledger.md").read_text()
    assert out in page
    _, first, _ = troth("seal")
    number, hash_ = first.strip().split(":")
    assert (number, len(hash_)) == ("1", 64)
    assert troth("seal")[1] == first
    assert troth("verify", "--head", first.strip())[0] == 0
    code, out, _ = troth("verify", "--head", f"1:{'0' * 64}", "-o", "json")
    assert code == 1
    report = json.loads(out)
    assert report["sound"] is False
    assert report["checks"][-1]["wrong"] == 1
    assert troth("verify", "--head", "first")[0] == 2
    acts = read(migrated, "SELECT act, about, result FROM {}.operator_act ORDER BY id")
    assert acts[0] == ("ledger.seal", migrated[1], {"sealed": 15, "head": first.strip()})


def test_nothing_to_seal_is_said(troth: Invoke, migrated) -> None:
    assert troth("seal")[1] == "nothing was posted yet\n"


def test_a_journal_is_printed(troth: Invoke, day: None) -> None:
    _, out, _ = troth("export")
    assert "    liabilities:wallet:ann  -50.00 EUR\n" in out
    _, out, _ = troth("export", "--format", "beancount")
    assert "  Liabilities:Wallet:Ann  -50.00 EUR\n" in out


def test_a_transfer_by_hand_is_recorded_and_posted_once(troth: Invoke, day: None, migrated) -> None:
    words = ["post", "fix:1", "expenses:fees", "assets:bank", "1.25", "EUR", "--code", "fee"]
    code, out, _ = troth(*words, "--note", "October", "--by", "ada")
    assert code == 0
    assert out.startswith("created: 1.25 EUR from assets:bank to expenses:fees")
    assert troth(*words)[1].startswith("exists: ")
    code, _, err = troth("post", "fix:2", "liabilities:wallet:ann", "income:sales", "9999", "EUR")
    assert code == 1
    assert "exceeds_credits" in err
    assert troth("post", "fix:3", "expenses:fees", "assets:bank", "1.255", "EUR")[0] == 2
    acts = read(migrated, "SELECT act, about, by, details, note FROM {}.operator_act ORDER BY id")
    details = {
        "debit": "expenses:fees", "credit": "assets:bank", "amount": "1.25", "currency": "EUR", "code": "fee",
    }  # fmt: skip
    assert acts[0] == ("ledger.post", "fix:1", "ada", details, "October")
    assert len(acts) == 2
    typed = as_command("ledger.post", "fix:1", details, "October")
    assert (
        typed == "troth "
        "ledger post fix:1 expenses:fees assets:bank 1.25 EUR --code fee --note October"
    )


def test_a_period_is_closed_once_and_for_all(troth: Invoke, day: None, migrated) -> None:
    code, out, _ = troth("close", "2026-07-01", "--note", "June", "--by", "ada")
    assert code == 0
    assert out == "closed until 2026-07-01 00:00:00 UTC\n"
    assert troth("close", "2026-06-15")[0] != 0
    assert troth("close", "soon")[0] == 2
    acts = read(migrated, "SELECT act, about, by FROM {}.operator_act")
    assert acts == [("ledger.close", "2026-07-01T00:00:00+00:00", "ada")]


def test_two_people_can_be_asked_for(troth: Invoke, day: None, migrated) -> None:
    with psycopg.connect(migrated[0]) as connection:
        connection.execute(f"INSERT INTO {migrated[1]}.act_rule VALUES ('ledger.post', 2)")
    words = ["post", "fix:1", "expenses:fees", "assets:bank", "1.25", "EUR"]
    assert "proposed as number 1" in troth(*words, "--by", "ada")[1]
    assert read(migrated, "SELECT 1 FROM {}.ledger_transfer WHERE key = 'fix:1'") == []
    assert troth(*words, "--by", "bob")[1].startswith("created")


def test_a_transfer_that_the_books_refuse_is_an_answer_and_nothing_is_written(
    troth: Invoke, migrated, day: None
) -> None:
    before = read(migrated, "SELECT count(*) FROM {}.ledger_transfer")
    for words, said in (
        (("x", "nowhere", "income:sales", "1.00", "EUR"), "transfer x (debit nowhere, credit income:sales) was refused: debit_account_not_found"),
        (("x", "assets:bank", "income:sales", "1.00", "USD"), "another currency than its account"),
        (("capital", "assets:bank", "income:sales", "1.00", "EUR"), "exists_with_different_credit_account_id"),
        (("x", "liabilities:wallet:ann", "income:sales", "999", "EUR"), "exceeds_credits"),
    ):  # fmt: skip
        code, out, err = troth("post", *words)
        assert (code, out) == (1, ""), words
        assert said in err
        assert err.startswith("troth: transfer ")
        assert len(err.splitlines()) == 1, "no traceback: the books have said no"
    assert read(migrated, "SELECT count(*) FROM {}.ledger_transfer") == before


def test_what_is_typed_wrong_is_told(troth: Invoke, day: None) -> None:
    for words, said in (
        (("post", "x", "a", "b", "1,00", "EUR"), "'1,00' is not an amount"),
        (("post", "x", "a", "b", "1.001", "EUR"), "parts of the smallest unit"),
        (("post", "x", "a", "b", "-1", "EUR"), "an amount is greater than 0"),
        (("post", "x", "a", "b", "1", "eur"), "write 'EUR'"),
        (("post", "x", "a", "a", "1", "EUR"), "its accounts must be different"),
        (("post", "", "a", "b", "1", "EUR"), "the id of a transfer is a text"),
        (("close", "tomorrow"), "is not a time"),
        (("verify", "--head", "5"), "--head is NUMBER:HASH"),
        (("verify", "--head", "1:00"), "--head is NUMBER:HASH"),
        (("trial", "--at", "soon"), "--at: 'soon' is not a time"),
        (("trial", "--at", "2026-01-01", "--effective-at", "2026-01-01"), "--at or --effective-at"),
        (("accounts", "--limit", "0"), "--limit is 1 to 1000"),
    ):  # fmt: skip
        code, _, err = troth(*words)
        assert code == 2, words
        assert said in err


def test_a_trial_balance_of_another_time(troth: Invoke, day: None) -> None:
    _, out, _ = troth("trial", "--at", "2020-01-01", "-o", "json")
    assert {each["debits_posted"] for each in json.loads(out)} == {0}
    _, out, _ = troth("trial", "--effective-at", "2026-06-01", "-o", "json")
    (eur,) = [each for each in json.loads(out) if each["currency"] == "EUR"]
    assert (eur["debits_posted"], eur["debits_pending"], eur["balanced"]) == (100_035, 0, True)
