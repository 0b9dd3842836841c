"""What people do about breaks and periods, from the command line: with its record, and by as many people as it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.cli.parked import Journal, in_doubt, park
from tests.reconcile.conftest import DAY, NOW, Books, both, item
from troth.cli import reconcile as noun
from troth.cli.failure import fail
from troth.journal.model import Kind
from troth.reconcile import Standing, Verdict
from troth.reconcile.model import Break
from troth.store.tx import Tx

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def troth(books: Books, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `troth reconcile …`; exit code, standard output and error."""

    def invoke(*tokens: str) -> tuple[int, str, str]:
        capsys.readouterr()
        given = [*tokens, "--database-url", books.url, "--schema", books.schema]
        try:
            code = noun.app(given, exit_on_error=False, result_action="return_value") or 0
        except Exception as error:  # noqa: BLE001
            code = fail(error)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    async def elsewhere(*tokens: object) -> tuple[int, str, str]:
        return await asyncio.to_thread(invoke, *map(str, tokens))

    return elsewhere


async def one_break(books: Books, **terms: Any) -> Break:
    books.ours.items, books.theirs.items = both(4)
    books.theirs.items.append(item("ch_twice", 1002, key="k2", days_ago=3))
    await books.run(**terms)
    (found,) = await books.breaks()
    return found


# Looking --------------------------------------------------------------------------------------------------------------


async def test_breaks_are_listed_and_shown_with_their_evidence(
    books: Books, troth: Command
) -> None:
    found = await one_break(books)
    code, out, _ = await troth("breaks", "bank")
    assert code == 0
    assert "duplicate_theirs" in out
    assert "10.02 EUR" in out
    code, out, _ = await troth("show", found.id)
    assert code == 0
    for word in ("ch_twice", "ch_2", "run/2", "refund", "found"):
        assert word in out
    told = json.loads((await troth("show", found.id, "-o", "json"))[1])
    assert [each["what"] for each in told["history"]] == ["found"]
    assert (await troth("breaks", "--state", "resolved"))[1] == "No breaks.\n"
    assert (await troth("breaks", "--kind", "nonsense"))[0] == 2
    code, _, err = await troth("show", 999)
    assert (code, "there is no break 999" in err) == (1, True)


async def test_a_run_is_shown_with_what_it_has_read(books: Books, troth: Command) -> None:
    found = await one_break(books)
    code, out, _ = await troth("runs", "--run", found.last_run)
    assert code == 0
    assert "our list: 4 items, 40.06 EUR; complete" in " ".join(out.split())
    (line,) = json.loads((await troth("runs", "bank", "-o", "json"))[1])
    assert (line["verdict"], line["matched"], line["breaks"]) == ("breaks", 8, 1)


async def test_who_asks_for_a_run_sees_it_through(books: Books, troth: Command) -> None:
    books.ours.items, books.theirs.items = both(3)
    relay = books.relay()
    await relay.look(books.pool)
    task = asyncio.ensure_future(troth("run", "bank", "--since", "30d", "--by", "ada"))
    async with asyncio.timeout(30):
        while not await books.rows("SELECT id FROM {}.reconcile_run"):  # noqa: ASYNC110  (a row)
            await asyncio.sleep(0)
    await relay.look(books.pool)
    code, out, _ = await task
    assert code == 0
    assert "clean" in out
    assert "their list: 3 items" in out
    ((name, about, by),) = [row[:3] for row in await audited_rows(books)]
    assert (name, about, by) == ("reconcile.run", "bank", "ada")


async def test_a_run_that_nobody_would_do_is_not_asked_for(books: Books, troth: Command) -> None:
    code, _, err = await troth("run", "bnak", "--since", "30d")
    assert code == 1
    assert "no worker has declared a reconciliation 'bnak'" in err
    await books.relay().look(books.pool)
    code, _, err = await troth("run", "bank", "--since", "2d", "--until", "3d")
    assert (code, "begins before it ends" in err) == (2, True)


async def audited_rows(books: Books) -> list[tuple[Any, ...]]:
    return await books.rows(
        "SELECT act, about, by, outcome, note, agrees_with FROM {}.operator_act ORDER BY id"
    )


# Explaining -----------------------------------------------------------------------------------------------------------


async def test_an_accepted_break_is_explained_until_its_day(books: Books, troth: Command) -> None:
    found = await one_break(books)
    code, _, err = await troth("accept", found.id, "--until", "30d")
    assert (code, "say why" in err) == (2, True)
    assert (await troth("accept", found.id, "--until", "900d", "--note", "x"))[0] == 2
    assert (await troth("accept", found.id, "--until", "2020-01-01", "--note", "x"))[0] == 2
    code, out, _ = await troth(
        "accept", found.id, "--until", "30d", "--note", "refunded", "--by", "ada"
    )
    assert (code, "is accepted until" in out) == (0, True)
    assert [row[:2] for row in await audited_rows(books)] == [("reconcile.accept", str(found.id))]
    assert (await books.run()).verdict == Verdict.EXPLAINED
    (again,) = await books.breaks()
    assert (again.state, again.explained_by, again.explanation) == ("accepted", "ada", "refunded")
    await books.rows("UPDATE {}.reconcile_break SET until = clock_timestamp()")
    await books.relay().look(books.pool)
    (over,) = await books.breaks()
    assert (over.state, over.explained_by) == ("open", None)
    assert await books.history(found.id) == ["found", "accepted", "expired"]


async def test_what_was_accepted_does_not_explain_another_difference(
    books: Books, troth: Command
) -> None:
    found = await one_break(books)
    await troth("accept", found.id, "--until", "30d", "--note", "refunded")
    books.theirs.items[-1] = item("ch_twice", 9999, key="k2", days_ago=3)
    assert (await books.run()).verdict == "breaks"
    assert await books.history(found.id) == ["found", "accepted", "reopened"]


async def test_reopened_and_owned_by_hand(books: Books, troth: Command) -> None:
    found = await one_break(books)
    assert (await troth("reopen", found.id))[0] == 2
    await troth("accept", found.id, "--until", "30d", "--note", "refunded")
    assert (await troth("reopen", found.id, "--note", "it was not", "--by", "bob"))[0] == 0
    assert "bob looks after" in (await troth("own", found.id, "--by", "bob"))[1]
    (now,) = await books.breaks()
    assert (now.state, now.owner) == ("open", "bob")
    assert "nobody" in (await troth("own", found.id, "--release"))[1]
    acts = [row[0] for row in await audited_rows(books)]
    assert acts == ["reconcile.accept", "reconcile.reopen", "reconcile.own", "reconcile.own"]


# Settling -------------------------------------------------------------------------------------------------------------


async def test_a_correction_is_booked_by_the_program_and_linked(
    books: Books, troth: Command
) -> None:
    async def book(tx: Tx, found: Break) -> str:
        await tx.execute("SELECT 1")
        return f"transfer for {found.subject}"

    found = await one_break(books, correct=book)
    code, out, _ = await troth("settle", found.id, "--by", "ada")
    assert (code, "by the next worker that can" in out) == (0, True)
    await books.relay(correct=book).look(books.pool)
    (now,) = await books.breaks()
    assert (now.state, now.correction) == ("corrected", "transfer for theirs:ch_twice")
    assert now.explained_by == "ada"
    assert [row[0] for row in await audited_rows(books)] == ["reconcile.settle"]
    assert (await books.run(correct=book)).verdict == "explained"
    books.theirs.items.pop()
    await books.run(correct=book)
    assert await books.history(found.id) == ["found", "to be corrected", "corrected", "resolved"]


async def test_a_correction_that_cannot_be_booked_is_not_said_to_be(
    books: Books, troth: Command
) -> None:
    async def book(tx: Tx, _found: Break) -> str:
        await tx.execute(f"DELETE FROM {books.schema}.reconcile_page")  # type: ignore[arg-type]
        raise ValueError("there is no such account")

    found = await one_break(books, correct=book)
    await troth("settle", found.id)
    await books.relay(correct=book).look(books.pool)
    (now,) = await books.breaks()
    assert (now.state, now.wanted) == ("open", None)
    assert await books.history(found.id) == ["found", "to be corrected", "not corrected"]
    ((pages,),) = await books.rows("SELECT count(*) FROM {}.reconcile_page")
    assert pages > 0, "what it had done was not undone"


async def test_what_is_wrong_with_a_feed_is_not_booked(books: Books, troth: Command) -> None:
    books.ours.items, _ = both(3)
    await books.run()
    (found,) = await books.breaks()
    code, _, err = await troth("settle", found.id)
    assert (code, "not mended by booking" in err) == (2, True)


async def doubted(books: Books) -> tuple[str, Break]:
    """An effect in doubt that their side does not have."""
    journal = Journal().sent("refund", 1).lost("refund", 1)
    run = str(park((books.url, books.schema), journal, "in_doubt", in_doubt()))
    books.ours.items = [item(f"{run}/refund", -700, key="doubt", standing=Standing.IN_DOUBT)]
    books.theirs.items = [item("re_other", -500, key="other")]
    await books.run()
    (found,) = [each for each in await books.breaks() if each.subject == "key:doubt"]
    return run, found


async def test_an_effect_that_they_do_not_have_is_settled_by_a_person(
    books: Books, troth: Command
) -> None:
    run, found = await doubted(books)
    assert (found.kind, found.action) == ("missing_theirs", "settle_not_done")
    code, _, err = await troth("settle", found.id)
    assert (code, "say how you know" in err) == (2, True)
    code, out, _ = await troth("settle", found.id, "--note", "not in their list", "--by", "ada")
    assert (code, out) == (0, "refund did not happen; its run goes on\n")
    decisions = await books.rows(
        "SELECT payload FROM {}.journal WHERE run_id = %s AND kind = %s AND path = 'refund'",
        run, int(Kind.DECISION),
    )  # fmt: skip
    assert json.loads(bytes(decisions[-1][0]))["done"] is False
    (resolved,) = [each for each in await books.breaks() if each.id == found.id]
    assert (resolved.state, resolved.explained_by) == ("resolved", "ada")


async def test_two_people_agree_where_the_rule_says_so(books: Books, troth: Command) -> None:
    run, found = await doubted(books)
    await books.rows("INSERT INTO {}.act_rule (act, eyes) VALUES ('effect.settle', 2)")
    out = (await troth("settle", found.id, "--note", "not in their list", "--by", "ada"))[1]
    assert "2 people must agree" in out
    assert (await books.rows("SELECT state::text FROM {}.run WHERE id = %s", run)) == [
        ("attention",)
    ]
    out = (await troth("settle", found.id, "--note", "I looked, too", "--by", "bob"))[1]
    assert "did not happen" in out
    assert await books.history(found.id) == ["found", "proposed", "settled"]


# Periods --------------------------------------------------------------------------------------------------------------

END = (NOW - 1 * DAY).date().isoformat()


async def test_a_period_is_closed_by_two_people_when_all_is_explained(
    books: Books, troth: Command
) -> None:
    await books.relay().look(books.pool)  # a worker is there, and nothing was compared yet
    code, _, err = await troth("close", "bank", "--until", END)
    assert (code, "no run of bank has looked at all of the period" in err) == (1, True)
    found = await one_break(books)
    code, _, err = await troth("close", "bank", "--until", END)
    assert (code, f"1 breaks until {END}" in err, f"the largest is {found.id}" in err) == (
        1,
        True,
        True,
    )
    await troth("accept", found.id, "--until", "30d", "--note", "refunded", "--by", "ada")

    code, _, err = await troth("approve", "bank", "--until", END, "--by", "bob")
    assert (code, "nobody else has prepared" in err) == (1, True)
    out = (await troth("close", "bank", "--until", END, "--by", "ada"))[1]
    assert "proposed as number" in out
    assert "troth reconcile approve bank --until" in out
    code, _, err = await troth("approve", "bank", "--until", END, "--by", "Ada ")
    assert (code, "a second person must" in err) == (1, True)
    code, out, err = await troth("approve", "bank", "--until", END, "--by", "bob")
    assert (code, "is closed until" in out) == (0, True), err

    (period,) = json.loads((await troth("periods", "bank", "-o", "json"))[1])
    assert (period["prepared_by"], period["approved_by"], period["accepted"]) == ("ada", "bob", 1)
    done = [row for row in await audited_rows(books) if row[0] == "reconcile.close"]
    assert [(row[2], row[3], row[5]) for row in done] == [
        ("ada", "proposed", None), ("bob", "done", "ada"),
    ]  # fmt: skip
    code, _, err = await troth("close", "bank", "--until", END, "--by", "eve")
    assert (code, "is closed until" in err) == (1, True)


async def test_what_has_changed_must_be_prepared_again(books: Books, troth: Command) -> None:
    found = await one_break(books)
    await troth("accept", found.id, "--until", "30d", "--note", "refunded", "--by", "ada")
    await troth("close", "bank", "--until", END, "--by", "ada")
    await troth("accept", found.id, "--until", "30d", "--note", "in fact it was not", "--by", "ada")
    code, _, err = await troth("approve", "bank", "--until", END, "--by", "bob")
    assert (code, "as it stands now" in err) == (1, True)
    assert await books.rows("SELECT until FROM {}.reconcile_period") == []


async def test_an_unproven_run_closes_nothing(books: Books, troth: Command) -> None:
    books.ours.items, books.theirs.items = both(3)
    books.theirs.says = 4
    await books.run()
    (found,) = await books.breaks()
    await troth("accept", found.id, "--until", "30d", "--note", "it is always so")
    code, _, err = await troth("close", "bank", "--until", END)
    assert (code, "is unproven" in err) == (1, True)


async def test_a_closed_period_is_not_looked_at_again(books: Books, troth: Command) -> None:
    books.ours.items, books.theirs.items = both(3)
    await books.run()
    await troth("close", "bank", "--until", END, "--by", "ada")
    await troth("approve", "bank", "--until", END, "--by", "bob")
    await books.relay(every=timedelta(hours=1), lookback=30 * DAY).look(books.pool)
    ((since,),) = await books.rows("SELECT since FROM {}.reconcile_run ORDER BY id DESC LIMIT 1")
    assert since == NOW - 1 * DAY


async def test_a_due_run_goes_back_to_the_oldest_break_that_stands(books: Books) -> None:
    found = await one_break(books)
    relay = books.relay(every=timedelta(hours=1), lookback=timedelta(hours=12))
    await relay.look(books.pool)
    rows = await books.rows("SELECT since, asked_by, verdict FROM {}.reconcile_run ORDER BY id")
    assert rows[-1] == (found.at, None, "breaks")
    await relay.look(books.pool)
    assert len(await books.rows("SELECT id FROM {}.reconcile_run")) == len(rows), (
        "it is not due yet"
    )


@pytest.mark.parametrize("table", ["reconcile_event", "reconcile_period"])
async def test_history_is_append_only(books: Books, table: str) -> None:
    import psycopg

    await one_break(books)
    await books.rows(
        "INSERT INTO {}.reconcile_period (reconciliation, until, run, result, accepted, prepared_by, approved_by)"
        " VALUES ('bank', now(), 1, '', 0, 'ada', 'bob')"
    )
    for statement in (f"DELETE FROM {{}}.{table}", f"TRUNCATE {{}}.{table}"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            await books.rows(statement)


# What cannot be -------------------------------------------------------------------------------------------------------


async def test_what_is_typed_wrong_is_told_and_a_name_that_is_none_is_never_clean(
    books: Books, troth: Command
) -> None:
    books.ours.items, books.theirs.items = both(2)
    await books.run()
    unknown = r"no worker has declared a reconciliation 'bnak' in the schema"
    for words in (
        ("breaks", "bnak"), ("runs", "bnak"), ("periods", "bnak"), ("run", "bnak"),
        ("close", "bnak", "--until", "2026-11-01"), ("approve", "bnak", "--until", "2026-11-01"),
    ):  # fmt: skip
        code, out, err = await troth(*words)
        assert (code, out) == (1, ""), words
        assert unknown in err
        assert "there are: bank" in err
    assert (await troth("breaks", "bank"))[:2] == (0, "No breaks.\n")
    for said, words in (
        ("there is no run 99999999999999999999", ("runs", "--run", 10**23 - 1)), ("there is no run -1", ("runs", "--run", "-1")),
        ("--limit is 1 to 1000", ("periods", "--limit", "-4")), ("--limit is 1 to 1000", ("runs", "--limit", "0")),
        ("--state is one of", ("breaks", "--state", "closed")), ("--kind is one of", ("breaks", "--kind", "weird")),
        ("a window begins before it ends", ("run", "bank", "--since", "2026-11-05", "--until", "2026-11-01")),
        ("is not a time", ("run", "bank", "--since", "soon")),
    ):  # fmt: skip
        code, _, err = await troth(*words)
        assert code == 2, words
        assert said in err
        assert "Traceback" not in err
    for words in (
        ("show", 99),
        ("reopen", 99),
        ("own", 99),
        ("settle", 99),
        ("accept", 99, "--until", "30d", "--note", "x"),
    ):
        code, _, err = await troth(*words)
        assert (code, err) == (1, "troth: there is no break 99: troth reconcile breaks\n")
    assert await books.rows("SELECT count(*) FROM {}.reconcile_run") == [(1,)]
    assert await books.rows("SELECT count(*) FROM {}.operator_act WHERE outcome = 'done'") == [(0,)]
