"""The desk: who may, how many it takes, and that no act is without its record."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import psycopg
import pytest

from tests.cli.conftest import states
from tests.cli.parked import Journal, in_doubt, park, recorded
from tests.command.conftest import blocked, transaction
from troth.base.errors import RunEndedError, RunNotFoundError, UsageError
from troth.command import act, desk, settle
from troth.command.acts import ACTS, Role
from troth.command.model import (
    Author,
    DidNotHappen,
    DisagreementError,
    Happened,
    NotAllowedError,
    NotInAttentionError,
    Proposed,
)
from troth.journal.model import Kind

ADA, BOB, EVE = (
    Author(name, "because", Role.OPERATOR, "console") for name in ("ada", "bob", "eve")
)
ROOT = Author("root", None, Role.ADMIN)


def stopped(cell) -> UUID:
    return park(cell, Journal().done("hello", 1), "bug", {"at": "hello", "message": "no"})


async def resume(tx, cell, author: Author, run: UUID):
    """One act, as a command does it."""
    return await desk.carry_out(
        tx,
        cell[1],
        author,
        "run.resume",
        str(run),
        {},
        lambda: act.resume(tx, cell[1], run, author),
    )


async def resumed(cell, author: Author, run: UUID):
    async with transaction(cell) as tx:
        return await resume(tx, cell, author, run)


async def two_people_for(cell, name: str) -> None:
    async with transaction(cell) as tx:
        await desk.set_rule(tx, cell[1], ROOT, name, 2)


def audit(cell, columns: str = "by, act, about, outcome") -> list[tuple]:
    """The lines of the audit, without those about rules."""
    with psycopg.connect(cell[0]) as connection:
        return connection.execute(
            f"SELECT {columns} FROM {cell[1]}.operator_act WHERE act <> 'act.rule' ORDER BY id"
        ).fetchall()


def proposals(cell) -> list[str]:
    with psycopg.connect(cell[0]) as connection:
        rows = connection.execute(f"SELECT by FROM {cell[1]}.act_proposal ORDER BY id")
        return [row[0] for row in rows]


# A record with every act ----------------------------------------------------------------------------------------------


async def test_an_act_and_its_record_are_one(migrated):
    run = stopped(migrated)
    assert str(await resumed(migrated, ADA, run)) == "bug"
    assert states(migrated)[str(run)] == "ready"
    columns = "by, role, via, act, about, details, note, outcome, agrees_with, result"
    assert audit(migrated, columns) == [
        ("ada", "operator", "console", "run.resume", str(run), {}, "because", "done", None, None)
    ]


async def test_what_cannot_be_done_leaves_no_record(migrated):
    run = stopped(migrated)
    await resumed(migrated, ADA, run)
    with pytest.raises(NotInAttentionError):
        await resumed(migrated, BOB, run)
    assert len(audit(migrated)) == 1


async def test_a_connection_that_dies_before_the_commit_leaves_neither_act_nor_record(migrated):
    run = stopped(migrated)
    connection = await psycopg.AsyncConnection.connect(migrated[0], autocommit=True)
    await connection.execute("BEGIN")
    await resume(connection, migrated, ADA, run)
    pid = connection.info.backend_pid
    with psycopg.connect(migrated[0], autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    await connection.close()
    assert states(migrated)[str(run)] == "attention"
    assert audit(migrated) == []
    await resumed(migrated, ADA, run)
    assert len(audit(migrated)) == 1


async def test_what_came_of_it_is_recorded_where_it_is_not_plain(migrated):
    async def deed() -> int:
        return 2**70

    async with transaction(migrated) as tx:
        await desk.carry_out(
            tx, migrated[1], ROOT, "db.retain", "troth", {"keep_s": 10**25}, deed,
            told=lambda made: {"made": made},
        )  # fmt: skip
    ((details, result),) = audit(migrated, "details::text, result::text")
    assert json.loads(details) == {"keep_s": 10**25}, "numbers are exact, however large"
    assert json.loads(result) == {"made": 2**70}


async def test_what_may_be_confidential_is_not_kept(migrated):
    run = stopped(migrated)
    details = {"topic": "pin", "key": None, "value": "1234"}
    async with transaction(migrated) as tx:
        await desk.carry_out(
            tx, migrated[1], ADA, "run.send", str(run), details,
            lambda: act.send(tx, migrated[1], run, "pin", b'"1234"', None, ADA),
        )  # fmt: skip
    assert audit(migrated, "details") == [({"topic": "pin", "key": None},)]


@pytest.mark.parametrize("statement", ["UPDATE {} SET by = 'eve'", "DELETE FROM {}", "TRUNCATE {}"])
async def test_records_are_only_added(migrated, statement):
    await resumed(migrated, ADA, stopped(migrated))
    with (
        psycopg.connect(migrated[0]) as connection,
        pytest.raises(psycopg.Error, match="append-only"),
    ):
        connection.execute(statement.format(f"{migrated[1]}.operator_act"))
    assert len(audit(migrated)) == 1


async def test_the_oldest_records_are_forgotten_on_purpose(migrated):
    await resumed(migrated, ADA, stopped(migrated))
    with psycopg.connect(migrated[0]) as connection:
        connection.execute("SET LOCAL troth.retention = 'on'")
        connection.execute(f"DELETE FROM {migrated[1]}.operator_act")
    assert audit(migrated) == []


@pytest.mark.parametrize(
    ("author", "about", "details", "message"),
    [
        (replace(ADA, by="  "), "x", {"text": "a"}, "an act of nobody"),
        (replace(ADA, note="a\0b"), "x", {"text": "a"}, "NUL"),
        (ADA, "x\0", {"text": "a"}, "NUL"),
        (ADA, "x", {"text": "a\0"}, "NUL"),
        (ADA, "x", {}, "the details of attention.note are text, not none"),
        (ADA, "x", {"text": "a", "more": 1}, "not more, text"),
    ],
)
async def test_what_could_not_be_written_down_is_not_done(
    migrated, author, about, details, message
):
    async with transaction(migrated) as tx:
        with pytest.raises(UsageError, match=message):
            await desk.carry_out(
                tx, migrated[1], author, "attention.note", about, details, unreachable
            )


async def unreachable() -> None:
    raise AssertionError("it was done")


async def test_a_backslash_before_u0000_is_no_nul(migrated):
    async def deed() -> None: ...

    async with transaction(migrated) as tx:
        await desk.carry_out(
            tx, migrated[1], ADA, "attention.note", "x", {"text": "\\u0000 \u202e<b>"}, deed
        )
    assert audit(migrated, "details->>'text'") == [("\\u0000 \u202e<b>",)]


async def test_an_act_that_there_is_not_is_not_done(migrated):
    async with transaction(migrated) as tx:
        with pytest.raises(UsageError, match=r"there is no act 'run\.destroy'"):
            await desk.carry_out(tx, migrated[1], ROOT, "run.destroy", "x", {}, unreachable)


# Roles ----------------------------------------------------------------------------------------------------------------

NEEDS_ADMIN = {
    "access.person.add", "access.person.disable", "access.key.create", "access.key.rotate", "access.key.revoke",
    "access.session.end", "access.session.end_all", "act.rule", "db.retain", "ledger.close", "ledger.post",
}  # fmt: skip


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("role", Role)
def test_who_may(name, role):
    kind = ACTS[name]
    details = dict.fromkeys(kind.details, "x")
    least = Role.ADMIN if name in NEEDS_ADMIN else Role.OPERATOR
    author = Author("ada", None, role, "console")
    if role >= least:
        desk.require_role(kind, author, "x", details)
    else:
        with pytest.raises(NotAllowedError, match=f"needs the role {least.word}.* {role.word}"):
            desk.require_role(kind, author, "x", details)


async def test_who_may_not_does_nothing_and_is_recorded_although_it_is_rolled_back(migrated):
    run = stopped(migrated)
    viewer = replace(ADA, role=Role.VIEWER)

    @asynccontextmanager
    async def begin():
        async with transaction(migrated) as tx:
            yield tx

    async def cancel_and_resume() -> None:
        async with desk.recording_refusals(begin, migrated[1]), begin() as tx:
            await act.cancel(tx, migrated[1], run, viewer)  # what went before is rolled back
            await resume(tx, migrated, viewer, run)

    with pytest.raises(NotAllowedError):
        await cancel_and_resume()
    assert states(migrated)[str(run)] == "attention"
    assert audit(migrated, "by, role, act, about, outcome") == [
        ("ada", "viewer", "run.resume", str(run), "refused")
    ]
    with psycopg.connect(migrated[0]) as connection:
        (messages,) = connection.execute(f"SELECT count(*) FROM {migrated[1]}.message").fetchone()
    assert messages == 0


async def test_a_refusal_keeps_nothing_confidential(migrated):
    viewer = replace(ADA, role=Role.VIEWER)
    details = {"topic": "pin", "key": None, "value": "1234"}
    with pytest.raises(NotAllowedError):
        async with (
            desk.recording_refusals(lambda: transaction(migrated), migrated[1]),
            transaction(migrated) as tx,
        ):
            await desk.carry_out(tx, migrated[1], viewer, "run.send", "x", details, unreachable)
    assert audit(migrated, "outcome, details") == [("refused", {"topic": "pin", "key": None})]


def test_a_role_is_written_as_a_word():
    assert [Role.of(word) for word in ("viewer", "Operator", "ADMIN")] == list(Role)
    with pytest.raises(UsageError, match="there are viewer, operator, admin"):
        Role.of("king")


# Two people -----------------------------------------------------------------------------------------------------------


async def test_it_happens_when_a_second_person_does_the_same(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    made = await resumed(migrated, ADA, run)
    assert isinstance(made, Proposed)
    assert (made.act, made.about, made.by) == ("run.resume", str(run), "ada")
    assert states(migrated)[str(run)] == "attention"
    assert recorded(migrated, run, Kind.DECISION) == [], "it was tried, and undone"
    assert proposals(migrated) == ["ada"]

    assert str(await resumed(migrated, BOB, run)) == "bug"
    assert states(migrated)[str(run)] == "ready"
    assert proposals(migrated) == []
    assert audit(migrated, "by, outcome, agrees_with") == [
        ("ada", "proposed", None),
        ("bob", "done", "ada"),
    ]


@pytest.mark.parametrize("name", ["ada", " ADA "])
async def test_nobody_is_two_people(migrated, name):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    await resumed(migrated, ADA, run)
    with pytest.raises(DisagreementError, match=r"already, and a second person .* withdraw 1"):
        await resumed(migrated, replace(ADA, by=name), run)
    assert states(migrated)[str(run)] == "attention"
    assert len(audit(migrated)) == 1


async def test_another_content_is_another_proposal(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.send")

    async def send(author: Author, value: object):
        async with transaction(migrated) as tx:
            return await desk.carry_out(
                tx, migrated[1], author, "run.send", str(run),
                {"topic": "pay", "key": None, "value": value},
                lambda: act.send(tx, migrated[1], run, "pay", json.dumps(value).encode(), None, author),
            )  # fmt: skip

    assert isinstance(await send(ADA, {"cents": 700, "to": "x"}), Proposed)
    assert isinstance(await send(BOB, {"cents": 7000, "to": "x"}), Proposed)
    assert proposals(migrated) == ["ada", "bob"]
    assert await send(EVE, {"to": "x", "cents": 700}) is None, "the order of fields says nothing"
    assert proposals(migrated) == ["bob"]
    assert audit(migrated, "by, agrees_with")[-1] == ("eve", "ada")


async def test_what_cannot_be_done_is_not_proposed(migrated):
    await two_people_for(migrated, "run.resume")
    with pytest.raises(RunNotFoundError):
        await resumed(migrated, ADA, UUID(int=7))
    assert proposals(migrated) == []
    assert audit(migrated) == []


async def test_a_proposal_that_has_become_impossible_stays_one(migrated):
    """The second person is told why, and the first one's word is not used up."""
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    await resumed(migrated, ADA, run)
    async with transaction(migrated) as tx:
        await act.resume(tx, migrated[1], run, EVE)
    with pytest.raises(NotInAttentionError):
        await resumed(migrated, BOB, run)
    assert proposals(migrated) == ["ada"]


async def test_a_proposal_is_void_after_its_time(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    await resumed(migrated, ADA, run)
    with psycopg.connect(migrated[0]) as connection:
        connection.execute(f"UPDATE {migrated[1]}.act_proposal SET until = clock_timestamp()")
    assert isinstance(await resumed(migrated, BOB, run), Proposed)
    assert proposals(migrated) == ["bob"]
    assert str(await resumed(migrated, ADA, run)) == "bug"


async def test_a_void_proposal_that_somebody_holds_is_void_all_the_same(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    await resumed(migrated, ADA, run)
    with psycopg.connect(migrated[0]) as connection:
        connection.execute(f"UPDATE {migrated[1]}.act_proposal SET until = clock_timestamp()")
    async with transaction(migrated) as holder:
        await holder.execute(f"SELECT 1 FROM {migrated[1]}.act_proposal FOR UPDATE")
        late = await blocked(migrated, resumed(migrated, BOB, run))
    assert isinstance(await late, Proposed)
    assert proposals(migrated) == ["bob"]


async def test_the_second_of_two_at_once_waits_for_the_first_and_agrees(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    async with transaction(migrated) as first:
        assert isinstance(await resume(first, migrated, ADA, run), Proposed)
        second = await blocked(migrated, resumed(migrated, BOB, run))
    assert str(await second) == "bug"
    assert audit(migrated, "by, outcome") == [("ada", "proposed"), ("bob", "done")]


async def test_if_the_first_of_two_at_once_fails_the_second_one_is_the_first(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    second = None

    async def fail() -> None:
        nonlocal second
        async with transaction(migrated) as first:
            await resume(first, migrated, ADA, run)
            second = await blocked(migrated, resumed(migrated, BOB, run))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert isinstance(await second, Proposed)
    assert proposals(migrated) == ["bob"]
    assert audit(migrated, "by, outcome") == [("bob", "proposed")]


async def test_of_two_who_agree_at_once_one_does_it(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    await resumed(migrated, ADA, run)
    async with transaction(migrated) as one:
        await resume(one, migrated, BOB, run)
        other = await blocked(migrated, resumed(migrated, EVE, run))
    with pytest.raises(NotInAttentionError):  # hers would be a new proposal, of what is done
        await other
    assert audit(migrated, "by, outcome") == [("ada", "proposed"), ("bob", "done")]
    assert proposals(migrated) == []


async def test_the_second_person_must_be_allowed_too(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    await resumed(migrated, ADA, run)
    with pytest.raises(NotAllowedError):
        await resumed(migrated, replace(BOB, role=Role.VIEWER), run)
    assert states(migrated)[str(run)] == "attention"


async def test_a_finding_has_its_second_person_in_the_journal(migrated):
    """Where a rule of the desk asks for two, the effect's own way to agree is used, once."""
    run = park(migrated, Journal().sent("refund").lost("refund"), "in_doubt", in_doubt())
    await two_people_for(migrated, "effect.settle")

    async def found(author: Author, finding):
        done = isinstance(finding, Happened)
        async with transaction(migrated) as tx:
            return await desk.carry_out(
                tx, migrated[1], author, "effect.settle", str(run),
                {"path": None, "done": done, "value": None},
                lambda: settle.settle(tx, migrated[1], run, None, author, finding),
            )  # fmt: skip

    first = await found(ADA, DidNotHappen())
    assert not first.settled
    with pytest.raises(DisagreementError):
        await found(ADA, DidNotHappen())
    assert (await found(BOB, DidNotHappen())).agreed == ("ada", "bob")
    assert proposals(migrated) == []
    assert audit(migrated, "by, outcome") == [("ada", "proposed"), ("bob", "done")]


# Rules ----------------------------------------------------------------------------------------------------------------


async def rule(cell, author: Author, name: str, eyes: int):
    async with transaction(cell) as tx:
        return await desk.set_rule(tx, cell[1], author, name, eyes)


async def test_a_rule_is_made_by_one_and_lowered_by_as_many_as_it_asks_for(migrated):
    boss = Author("boss")
    assert await rule(migrated, ROOT, "run.cancel", 2) is None
    assert isinstance(await rule(migrated, ROOT, "run.cancel", 1), Proposed)
    with pytest.raises(DisagreementError):
        await rule(migrated, ROOT, "run.cancel", 1)
    assert await rule(migrated, boss, "run.cancel", 1) is None
    with psycopg.connect(migrated[0]) as connection:
        made = connection.execute(
            f"SELECT by, about, details, outcome FROM {migrated[1]}.operator_act"
        )
        assert made.fetchall() == [
            ("root", "run.cancel", {"eyes": 2}, "done"),
            ("root", "run.cancel", {"eyes": 1}, "proposed"),
            ("boss", "run.cancel", {"eyes": 1}, "done"),
        ]


async def test_a_rule_may_protect_the_rules(migrated):
    await rule(migrated, ROOT, "act.rule", 2)
    assert isinstance(await rule(migrated, ROOT, "run.cancel", 2), Proposed)
    assert await rule(migrated, Author("boss"), "run.cancel", 2) is None


async def test_two_who_change_a_rule_at_once_do_it_one_after_the_other(migrated):
    """Who lowers a rule sees the one that somebody is just making."""
    async with transaction(migrated) as first:
        await desk.set_rule(first, migrated[1], ROOT, "run.cancel", 2)
        second = await blocked(migrated, rule(migrated, Author("boss"), "run.cancel", 1))
    assert isinstance(await second, Proposed)


@pytest.mark.parametrize(
    ("name", "eyes"), [("run.cancel", 0), ("run.cancel", 3), ("run.explode", 2)]
)
async def test_a_rule_that_cannot_be(migrated, name, eyes):
    with pytest.raises(UsageError):
        await rule(migrated, ROOT, name, eyes)


async def test_an_operator_makes_no_rules(migrated):
    with pytest.raises(NotAllowedError, match="needs the role admin"):
        await rule(migrated, ADA, "run.cancel", 2)


# Taking back ----------------------------------------------------------------------------------------------------------


async def withdraw(cell, author: Author, number: int):
    async with transaction(cell) as tx:
        return await desk.withdraw(tx, cell[1], author, number)


async def test_a_proposal_is_taken_back_by_its_author_or_an_admin(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    first = await resumed(migrated, ADA, run)
    with pytest.raises(NotAllowedError, match="needs the role admin"):
        await withdraw(migrated, BOB, first.id)
    await withdraw(migrated, ADA, first.id)
    assert proposals(migrated) == []
    second = await resumed(migrated, BOB, run)
    assert isinstance(second, Proposed), "what was taken back does not count"
    await withdraw(migrated, ROOT, second.id)
    with pytest.raises(UsageError, match=f"no proposal {second.id} waits"):
        await withdraw(migrated, ROOT, second.id)
    assert audit(migrated, "by, act, result->>'act'")[1] == ("ada", "act.withdraw", "run.resume")


async def test_what_is_being_agreed_to_cannot_be_taken_back(migrated):
    run = stopped(migrated)
    await two_people_for(migrated, "run.resume")
    first = await resumed(migrated, ADA, run)
    async with transaction(migrated) as tx:
        await resume(tx, migrated, BOB, run)
        late = await blocked(migrated, withdraw(migrated, ADA, first.id))
    with pytest.raises(UsageError, match="no proposal"):
        await late
    assert states(migrated)[str(run)] == "ready"


# Many runs ------------------------------------------------------------------------------------------------------------


async def each(cell, author: Author, runs: list[UUID]):
    return await desk.on_each(
        lambda: transaction(cell), cell[1], author, "run.resume", runs, {},
        lambda tx, run: act.resume(tx, cell[1], run, author),
    )  # fmt: skip


async def test_one_that_cannot_be_done_holds_up_no_other(migrated):
    runs = [stopped(migrated), UUID(int=7), stopped(migrated)]
    swept = await each(migrated, ADA, runs)
    assert swept.done == (runs[0], runs[2])
    assert swept.proposed == ()
    assert list(swept.failed) == [UUID(int=7)]
    assert "there is no run" in swept.failed[UUID(int=7)]
    assert [line[2] for line in audit(migrated)] == [str(runs[0]), str(runs[2])]


async def test_what_the_database_refuses_holds_up_no_other(migrated):
    runs = [stopped(migrated), stopped(migrated)]

    async def deed(tx, run: UUID) -> None:
        await tx.execute("SELECT 1 / %s::int", (runs.index(run),))
        await act.resume(tx, migrated[1], run, ADA)

    swept = await desk.on_each(
        lambda: transaction(migrated), migrated[1], ADA, "run.resume", runs, {}, deed
    )
    assert (swept.done, swept.failed) == ((runs[1],), {runs[0]: "division by zero"})
    assert states(migrated)[str(runs[0])] == "attention"


async def test_what_was_done_before_a_crash_stays_done_and_recorded(migrated):
    runs = [stopped(migrated), stopped(migrated)]

    async def deed(tx, run: UUID) -> None:
        await act.resume(tx, migrated[1], run, ADA)
        if run == runs[1]:
            await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(psycopg.OperationalError):
        await desk.on_each(
            lambda: transaction(migrated), migrated[1], ADA, "run.resume", runs, {}, deed
        )
    assert states(migrated) == {str(runs[0]): "ready", str(runs[1]): "attention"}
    assert [line[2] for line in audit(migrated)] == [str(runs[0])]


async def test_many_are_proposed_and_agreed_to_one_by_one(migrated):
    runs = [stopped(migrated), stopped(migrated)]
    await two_people_for(migrated, "run.resume")
    assert (await each(migrated, ADA, runs)).proposed == tuple(runs)
    assert (await each(migrated, BOB, runs[:1])).done == (runs[0],)
    assert states(migrated)[str(runs[1])] == "attention"


async def test_who_may_not_is_told_before_anything_is_done(migrated):
    runs = [stopped(migrated), stopped(migrated)]
    with pytest.raises(NotAllowedError):
        await each(migrated, replace(ADA, role=Role.VIEWER), runs)
    assert audit(migrated) == [("ada", "run.resume", "2 runs", "refused")]


async def test_so_many_at_once_and_not_more(migrated):
    with pytest.raises(UsageError, match="at most 1000"):
        await each(migrated, ADA, [UUID(int=7)] * 1001)


async def test_the_end_of_a_run_is_told(cell, runs):
    swept = await each(cell, ADA, [UUID(runs["greet"])])
    assert "has ended" in swept.failed[UUID(runs["greet"])]
    with pytest.raises(RunEndedError):
        await resumed(cell, ADA, UUID(runs["greet"]))
