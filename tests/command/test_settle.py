"""Findings about effects, in transactions of their own."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import pytest

from tests.cli import program
from tests.cli.conftest import states
from tests.cli.parked import Journal, happen, in_doubt, park, put_back, recorded
from tests.command.conftest import transaction
from tests.harness.postgres import wait_until
from troth.base import ids
from troth.base.errors import RunEndedError, RunNotFoundError, UsageError
from troth.command import settle as command
from troth.command.model import (
    Author,
    DidNotHappen,
    DisagreementError,
    Finding,
    Happened,
    NotInAttentionError,
    Settlement,
)
from troth.journal.model import Kind, Reason

ADA, BOB = Author("ada", "in the dashboard"), Author("bob", "on the phone")
DONE = Happened(b'"re_1"')


async def settle(cell, run: UUID, author: Author, finding: Finding, path: str | None = None):
    async with transaction(cell) as tx:
        return await command.settle(tx, cell[1], run, path, author, finding)


def doubtful(cell, **detail) -> UUID:
    journal = Journal().done("hello", 1)
    journal.sent("refund", 1, b"first").lost("refund", 1).sent("refund", 2, b"last").lost(
        "refund", 2
    )
    return park(cell, journal, "in_doubt", in_doubt(**detail))


async def test_it_happened(migrated):
    """The workflow is told the result after everything that it was told before."""
    run = doubtful(migrated)
    settlement = await settle(migrated, run, ADA, DONE)
    assert settlement == Settlement("refund", Reason.IN_DOUBT, ("ada",), 1)
    assert states(migrated)[str(run)] == "ready"
    said = {
        "at": "refund", "by": "ada", "done": True, "note": "in the dashboard", "reason": "in_doubt",
    }  # fmt: skip
    assert recorded(migrated, run, Kind.DECISION, Kind.RESULT)[1:] == [
        ("!resume", 5, 1, None, None, None, said),
        ("refund", 2, 0, 2, True, b"last", "re_1"),
    ]


async def test_it_did_not_happen(migrated):
    run = doubtful(migrated)
    await settle(migrated, run, ADA, DidNotHappen(), "refund")
    assert states(migrated)[str(run)] == "ready"
    decisions = recorded(migrated, run, Kind.DECISION)
    assert [(path, attempt) for path, _, attempt, *_ in decisions] == [
        ("!resume", 1),
        ("refund", 1),
    ]
    assert decisions[1][-1] == {
        "done": False, "attempts": 2, "by": "ada", "note": "in the dashboard",
    }  # fmt: skip
    assert len(recorded(migrated, run, Kind.RESULT)) == 1


async def test_without_evidence_nothing_is_recorded(migrated):
    run = doubtful(migrated)
    before = recorded(migrated, run)
    with pytest.raises(UsageError, match="--evidence"):
        await settle(migrated, run, Author("ada"), DidNotHappen())
    assert recorded(migrated, run) == before
    assert states(migrated)[str(run)] == "attention"


async def test_an_undo_that_was_done_by_hand(migrated):
    """It was refused, so that its path has an answer already; this one is another."""
    journal = Journal().sent("charge").add("charge", Kind.RESULT, "ch_1", seq=1, ok=True)
    journal.done("!settled", 2).sent("!undo/charge", digest=b"undo")
    journal.add("!undo/charge", Kind.RESULT, {"type": "Refused"}, seq=3, ok=False)
    run = park(migrated, journal, "undo_failed", {"at": "!undo/charge", "message": "refused"})
    settlement = await settle(migrated, run, ADA, Happened(b"null"), "!undo/charge")
    assert settlement.reason is Reason.UNDO_FAILED
    assert recorded(migrated, run, Kind.RESULT)[-1] == (
        "!undo/charge", 2, 1, 4, True, b"undo", None,
    )  # fmt: skip


async def test_an_undo_that_there_was_none_for(migrated):
    """Nothing was ever sent at its path: there are no arguments to agree with."""
    journal = Journal().sent("charge").add("charge", Kind.RESULT, "ch_1", seq=1, ok=True)
    run = park(
        migrated,
        journal.done("!settled", 2),
        "undo_failed",
        {"at": "!undo/charge", "message": "nobody has said how it is undone"},
    )
    await settle(migrated, run, ADA, Happened(b"null"))
    assert recorded(migrated, run, Kind.RESULT)[-1] == ("!undo/charge", 2, 0, 3, True, None, None)


async def test_what_was_given_up_may_be_done_by_hand(migrated):
    journal = Journal().sent("refund")
    run = park(migrated, journal, "retries_exhausted", in_doubt(message="refund did not happen"))
    assert (await settle(migrated, run, ADA, DONE)).reason is Reason.RETRIES_EXHAUSTED
    assert recorded(migrated, run, Kind.RESULT)[-1][-1] == "re_1"


async def test_nothing_is_said_about_what_the_run_does_not_wait_for(migrated):
    run = doubtful(migrated)
    with pytest.raises(UsageError, match="not wait for hello to be settled, but for refund"):
        await settle(migrated, run, ADA, DONE, "hello")
    broken = park(migrated, Journal(), "bug", {"at": "hello", "message": "oh"})
    with pytest.raises(UsageError, match="another reason than an effect"):
        await settle(migrated, broken, ADA, DONE)
    for each in (run, broken):
        assert states(migrated)[str(each)] == "attention"


async def test_who_does_not_exist_or_has_ended(cell, migrated):
    async with program.troth.worker():
        ended = await program.troth.start(program.greet, "ada")
        await ended.result(20)
        waiting = await program.troth.start(program.listener)
        await asyncio.to_thread(
            wait_until, lambda: states(cell).get(str(waiting.id)) == "waiting", "it waits"
        )
    for deed in (
        lambda tx, run: command.settle(tx, cell[1], run, None, ADA, DONE),
        lambda tx, run: command.probe(tx, cell[1], run, None, ADA),
    ):
        async with transaction(cell) as tx:
            with pytest.raises(RunNotFoundError):
                await deed(tx, ids.new_id())
            with pytest.raises(RunEndedError, match="it is succeeded"):
                await deed(tx, ended.id)
            with pytest.raises(NotInAttentionError, match="waiting"):
                await deed(tx, waiting.id)


async def test_people_at_the_same_time_make_one_decision(migrated):
    run = doubtful(migrated)
    outcomes = await asyncio.gather(
        *(settle(migrated, run, Author(name, "seen"), DONE) for name in "abcd"),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Settlement) for each in outcomes) == 1
    assert sum(isinstance(each, NotInAttentionError) for each in outcomes) == 3
    assert len(recorded(migrated, run, Kind.RESULT)) == 2


# Four eyes ------------------------------------------------------------------------------------------------------------


async def test_two_people_must_agree(migrated):
    run = doubtful(migrated, settled_by=2)
    first = await settle(migrated, run, ADA, DONE)
    assert not first.settled
    assert states(migrated)[str(run)] == "attention", "the run is not woken by one of them"
    assert recorded(migrated, run, Kind.DECISION) == [
        ("refund", 5, 1, None, None, None, {
            "proposal": {"done": True, "value": "re_1"}, "by": "ada", "note": "in the dashboard",
        }),
    ]  # fmt: skip
    second = await settle(migrated, run, BOB, Happened(b' "re_1"'))
    assert second == Settlement("refund", Reason.IN_DOUBT, ("ada", "bob"), 2)
    assert second.settled
    assert states(migrated)[str(run)] == "ready"
    *_, said = next(e for e in recorded(migrated, run, Kind.DECISION) if e[0] == "!resume")
    assert (said["by"], said["agrees_with"], said["done"]) == ("bob", "ada", True)
    assert recorded(migrated, run, Kind.RESULT)[-1][-1] == "re_1"


async def test_two_people_must_agree_that_it_did_not_happen(migrated):
    run = doubtful(migrated, settled_by=2)
    await settle(migrated, run, ADA, DidNotHappen())
    await settle(migrated, run, BOB, DidNotHappen())
    said = recorded(migrated, run, Kind.DECISION)[-1][-1]
    assert said == {
        "done": False, "attempts": 2, "by": "bob", "note": "on the phone", "agrees_with": "ada",
    }  # fmt: skip


async def test_nobody_knows_that_it_did_not_happen_while_it_still_can(migrated):
    run = doubtful(migrated, lands_until=time.time() + 3600)
    with pytest.raises(UsageError, match="can still arrive until"):
        await settle(migrated, run, ADA, DidNotHappen())
    await settle(migrated, run, ADA, DONE)
    assert states(migrated)[str(run)] == "ready"


async def test_two_people_who_agree_have_settled_it(migrated):
    run = doubtful(migrated, settled_by=2)
    await settle(migrated, run, ADA, DidNotHappen())
    await settle(migrated, run, BOB, DidNotHappen())
    with pytest.raises(NotInAttentionError):
        await settle(migrated, run, ADA, DidNotHappen())


async def test_people_who_disagree_settle_nothing(migrated):
    run = doubtful(migrated, settled_by=2)
    await settle(migrated, run, ADA, DONE)
    before = recorded(migrated, run)
    with pytest.raises(DisagreementError, match="ada has found out otherwise"):
        await settle(migrated, run, BOB, DidNotHappen())
    with pytest.raises(DisagreementError, match="second person"):
        await settle(migrated, run, ADA, DONE)
    assert recorded(migrated, run) == before
    assert not (await settle(migrated, run, ADA, DidNotHappen())).settled, "she withdraws it"
    assert (await settle(migrated, run, BOB, DidNotHappen())).settled


async def test_a_proposal_does_not_outlive_what_it_was_about(migrated):
    """It was sent again meanwhile, and is in doubt once more: nobody has agreed about that."""
    run = doubtful(migrated, settled_by=2)
    await settle(migrated, run, ADA, DidNotHappen())
    happen(migrated, run, "refund", Kind.INTENT, {}, attempt=3)
    put_back(migrated, run, in_doubt(settled_by=2))
    assert not (await settle(migrated, run, BOB, DidNotHappen())).settled
    assert (await settle(migrated, run, ADA, DidNotHappen())).settled


async def test_two_people_at_the_same_time_agree_once(migrated):
    run = doubtful(migrated, settled_by=2)
    outcomes = await asyncio.gather(
        *(settle(migrated, run, Author(name, "seen"), DONE) for name in "abcd"),
        return_exceptions=True,
    )
    settled = [each for each in outcomes if isinstance(each, Settlement)]
    assert sorted(each.settled for each in settled) == [False, True]
    assert len(recorded(migrated, run, Kind.RESULT)) == 2


# Asking once more -----------------------------------------------------------------------------------------------------


async def test_a_worker_is_told_to_ask(migrated):
    run = doubtful(migrated)
    async with transaction(migrated) as tx:
        assert await command.probe(tx, migrated[1], run, None, ADA) == ("refund", 1)
    assert states(migrated)[str(run)] == "ready"
    assert recorded(migrated, run, Kind.DECISION) == [
        ("refund", 5, 1, None, None, None, {
            "probe": True, "by": "ada", "note": "in the dashboard",
        }),
    ]  # fmt: skip


async def test_nobody_asks_where_there_is_no_probe(migrated):
    run = doubtful(migrated, probed=False)
    async with transaction(migrated) as tx:
        with pytest.raises(UsageError, match=r"had no probe .*--anyway"):
            await command.probe(tx, migrated[1], run, None, ADA)
        assert states(migrated)[str(run)] == "attention"
        await command.probe(tx, migrated[1], run, None, ADA, anyway=True)
    assert states(migrated)[str(run)] == "ready"


async def test_nobody_asks_about_what_is_known(migrated):
    run = park(migrated, Journal().sent("refund"), "retries_exhausted", in_doubt())
    async with transaction(migrated) as tx:
        with pytest.raises(UsageError, match="not in doubt"):
            await command.probe(tx, migrated[1], run, None, ADA)
