"""Reading effects that somebody must settle."""

from __future__ import annotations

import pytest

from tests.cli.parked import SENT_AT, Journal, happen, in_doubt, park
from troth.base.errors import UsageError
from troth.command.model import Author, DidNotHappen, Proposal
from troth.journal.model import Kind
from troth.store.connect import connect_async
from troth.view import attention, store
from troth.view.model import from_seconds


@pytest.fixture
async def connection(migrated):
    async with await connect_async(migrated[0]) as opened:
        yield opened


async def story(connection, schema, run, path=None):
    async with store.reading(connection, schema) as tx:
        return await store.story(tx, schema, run, path)


async def listed(connection, schema, **which):
    async with store.reading(connection, schema) as tx:
        return await attention.effects(tx, schema, **which)


async def test_what_is_listed(connection, migrated):
    refund = park(migrated, Journal().sent("refund"), "in_doubt", in_doubt(settled_by=2))
    park(migrated, Journal(), "bug", {"at": "hello"})
    park(migrated, Journal(), "retries_exhausted", {"at": "hello", "type": "OSError"})
    given_up = park(migrated, Journal().sent("mail"), "retries_exhausted", in_doubt("mail"))
    undo = park(migrated, Journal(), "undo_failed", {"at": "!undo/charge", "message": "none"})
    park(migrated, Journal(), "undo_failed", {"at": "the undoing", "message": "a bug"})
    lines = (await listed(connection, migrated[1])).rows
    assert [line.run for line in lines] == [refund, given_up, undo], "what waited longest first"
    assert [line.path for line in lines] == ["refund", "mail", "!undo/charge"]
    last, *_, first = lines
    assert (first.provider, first.stake, first.sent_at, first.sent_s) == (None, None, None, None)
    assert (last.provider, last.reason, last.stake) == ("bank", "in_doubt", "EUR 7.00")
    assert (last.settled_by, last.sent_at) == (2, from_seconds(SENT_AT))
    assert last.sent_s is not None


async def test_pages_have_neither_gaps_nor_what_is_no_effect(connection, migrated):
    wanted, found, after = [], [], None
    for _ in range(3):
        wanted.append(park(migrated, Journal().sent("refund"), "in_doubt", in_doubt()))
        park(migrated, Journal(), "retries_exhausted", {"at": "hello", "type": "OSError"})
        park(migrated, Journal(), "retries_exhausted", {"at": "hello", "type": "OSError"})
    for _ in range(5):
        page = await listed(connection, migrated[1], limit=2, after=after)
        found += [line.run for line in page.rows]
        after = page.next
    assert (found, after) == (wanted, None)


async def test_the_story_of_the_effect_that_a_run_stopped_at(connection, migrated):
    journal = Journal().done("hello", 1).sent("refund").lost("refund").sent("mail")
    resumed = {"by": "bob", "note": None, "reason": "bug"}
    journal.add("!resume", Kind.DECISION, resumed, attempt=1)
    journal.add("!resume", Kind.DECISION, resumed | {"at": "mail", "done": True}, attempt=2)
    run = park(migrated, journal, "in_doubt", in_doubt(settled_by=2))
    told = await story(connection, migrated[1], run)
    assert (told.path, told.waits, told.settled_by, told.proposal) == ("refund", True, 2, None)
    assert told.detail["stake"] == "EUR 7.00"
    assert [(m.entry.path, m.what) for m in told.timeline] == [
        ("refund", "intent"),
        ("refund", "no answer"),
        ("!resume", "decision"),
    ], "what was decided about other effects is told there"

    said = {"proposal": {"done": False}, "by": "ada", "note": "seen"}
    happen(migrated, run, "refund", Kind.DECISION, said)
    told = await story(connection, migrated[1], run)
    assert told.proposal == Proposal(DidNotHappen(), Author("ada", "seen"))
    named = await story(connection, migrated[1], run, "refund")
    assert (named.timeline, named.proposal) == (told.timeline, told.proposal)
    mail = await story(connection, migrated[1], run, "mail")
    assert (mail.waits, mail.detail, mail.proposal) == (False, {}, None)
    assert [m.entry.path for m in mail.timeline] == ["mail", "!resume", "!resume"]


async def test_an_undo_that_was_never_sent_has_a_story(connection, migrated):
    detail = {"at": "!undo/charge", "message": "nobody has said how it is undone"}
    run = park(migrated, Journal().sent("charge"), "undo_failed", detail)
    told = await story(connection, migrated[1], run)
    assert (told.path, told.waits, told.timeline) == ("!undo/charge", True, ())


async def test_which_effect_is_asked_if_it_is_not_clear(connection, migrated):
    broken = {"at": "hello", "message": "oh"}
    one = park(migrated, Journal().sent("refund"), "bug", broken)
    assert (await story(connection, migrated[1], one)).path == "refund"
    two = park(migrated, Journal().sent("refund").sent("mail"), "bug", broken)
    with pytest.raises(UsageError, match=r"say which \(it has sent mail, refund\)"):
        await story(connection, migrated[1], two)
    none = park(migrated, Journal().done("hello", 1), "bug", broken)
    with pytest.raises(UsageError, match="it has sent none"):
        await story(connection, migrated[1], none)
    with pytest.raises(UsageError, match=r"no effect nope \(it has sent refund\)"):
        await story(connection, migrated[1], one, "nope")


async def test_the_picture_of_a_run_tells_how_far_it_is_undone(connection, migrated):
    journal = Journal().sent("charge").add("charge", Kind.RESULT, "ch_1", seq=1, ok=True)
    run = park(migrated, journal, "bug", {"at": "hello"})
    async with store.reading(connection, migrated[1]) as tx:
        assert (await store.picture(tx, migrated[1], run, limit=50)).undoing is None
    happen(migrated, run, "!settled", Kind.RESULT, None, attempt=0, seq=2, ok=True)
    async with store.reading(connection, migrated[1]) as tx:
        found = (await store.picture(tx, migrated[1], run, limit=50)).undoing
    assert found is not None
    assert (found.undone, found.stands) == ((), ("charge",))
