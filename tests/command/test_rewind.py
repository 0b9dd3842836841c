"""Going back, in transactions of their own."""

from __future__ import annotations

import pytest

from tests.cli.conftest import states
from tests.cli.parked import Journal, park, recorded
from tests.command.conftest import transaction
from troth.base import ids
from troth.base.errors import RunNotFoundError, UsageError
from troth.command.model import Author, NotInAttentionError
from troth.command.rewind import preview, rewind
from troth.journal.model import Kind

ADA = Author("ada", "fixed in 4f2a91c")


def stopped(cell):
    journal = Journal().done("hello", 1).sent("charge")
    journal.add("charge", Kind.RESULT, "ch_1", seq=2, ok=True).done("book", 3)
    return park(cell, journal, "bug", {"at": "book", "type": "KeyError", "message": "'x'"})


async def test_it_goes_on_from_before_the_answer(migrated):
    run = stopped(migrated)
    async with transaction(migrated) as tx:
        shown = await preview(tx, migrated[1], run, "charge")
        assert states(migrated)[str(run)] == "attention", "looking changes nothing"
        done = await rewind(tx, migrated[1], run, "charge", ADA, redo_transactions=True)
    assert done == shown
    assert (done.kept, done.settled_anew, done.run_again) == (("hello",), ("charge",), ("book",))
    assert states(migrated)[str(run)] == "ready"
    went_back = {"seq": 2, "last": 3, "from": "charge", "by": "ada", "note": "fixed in 4f2a91c"}
    decisions = recorded(migrated, run, Kind.DECISION)
    assert [(path, attempt) for path, _, attempt, *_ in decisions] == [
        ("!resume", 1),
        ("!rewind", 1),
    ]
    assert decisions[1][-1] == went_back
    assert decisions[0][-1]["reason"] == "bug"


async def test_a_transaction_is_not_repeated_in_passing(migrated):
    run = stopped(migrated)
    async with transaction(migrated) as tx:
        with pytest.raises(UsageError, match=r"book again.*--redo-transactions"):
            await rewind(tx, migrated[1], run, "charge", ADA)
    assert recorded(migrated, run, Kind.DECISION) == []
    assert states(migrated)[str(run)] == "attention"


async def test_only_a_run_in_attention_goes_back(migrated):
    run = stopped(migrated)
    async with transaction(migrated) as tx:
        await rewind(tx, migrated[1], run, "book", ADA, redo_transactions=True)
    async with transaction(migrated) as tx:
        for deed in (
            lambda run: preview(tx, migrated[1], run, "charge"),
            lambda run: rewind(tx, migrated[1], run, "charge", ADA, redo_transactions=True),
        ):
            with pytest.raises(NotInAttentionError, match="ready"):
                await deed(run)
            with pytest.raises(RunNotFoundError):
                await deed(ids.new_id())
