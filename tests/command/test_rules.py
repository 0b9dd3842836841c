"""What people may do, as pure functions of what is recorded."""

from __future__ import annotations

import pytest

from tests.cli.parked import Journal, in_doubt
from troth.base import codec
from troth.base.errors import UsageError
from troth.command import rules
from troth.command.model import (
    Author,
    DidNotHappen,
    DisagreementError,
    Happened,
    Proposal,
    Standing,
)
from troth.journal.model import CANCEL_TOPIC, Entry, Kind, Reason

ADA, BOB = Author("ada", "seen"), Author("bob", "seen, too")
RUN = Journal().run
DONE = Happened(b'{"id": "re_1", "amount": 7}')
SAME = Happened(b'{"amount":7,"id":"re_1"}')


def entries(journal: Journal) -> list[Entry]:
    return [Entry(*row) for row in journal.rows]


# Findings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "detail", "path"),
    [
        (Reason.IN_DOUBT, in_doubt("refund"), "refund"),
        (Reason.IN_DOUBT, in_doubt("!undo/charge"), "!undo/charge"),
        (Reason.RETRIES_EXHAUSTED, in_doubt("refund"), "refund"),
        (Reason.RETRIES_EXHAUSTED, {"at": "read", "type": "OSError"}, None),
        (Reason.UNDO_FAILED, {"at": "!undo/charge", "message": "no undo"}, "!undo/charge"),
        (Reason.UNDO_FAILED, {"at": "the undoing", "type": "KeyError"}, None),
        (Reason.BUG, {"at": "read"}, None),
        (Reason.POISON, {"message": "refused"}, None),
        (Reason.CODE_CHANGED, {"at": "read"}, None),
    ],
)
def test_which_effect_a_run_stopped_at(reason, detail, path):
    standing = Standing(reason, detail)
    assert rules.effect_of(standing) == path
    if path is None:
        with pytest.raises(UsageError, match=f"another reason than an effect \\({reason}\\)"):
            rules.require_effect(RUN, standing, None)
    else:
        assert rules.require_effect(RUN, standing, None) == path
        assert rules.require_effect(RUN, standing, path) == path
        with pytest.raises(UsageError, match="does not wait for another"):
            rules.require_effect(RUN, standing, "another")


@pytest.mark.parametrize("note", [None, "", "  "])
def test_that_it_did_not_happen_needs_evidence(note):
    with pytest.raises(UsageError, match="--evidence"):
        rules.require_evidence(Author("ada", note), DidNotHappen())
    rules.require_evidence(Author("ada", note), DONE)
    rules.require_evidence(ADA, DidNotHappen())


def test_one_person_proposes_and_another_one_agrees():
    assert rules.agreement(ADA, DONE, None) == ("ada",)
    assert rules.agreement(BOB, SAME, Proposal(DONE, ADA)) == ("ada", "bob")
    assert rules.agreement(BOB, DidNotHappen(), Proposal(DidNotHappen(), ADA)) == ("ada", "bob")


@pytest.mark.parametrize(
    "other",
    [DidNotHappen(), Happened(b'{"id": "re_1", "amount": 7.0}'), Happened(b"null"), Happened(b"1")],
    ids=str,
)
def test_another_finding_of_another_person_is_a_conflict(other):
    with pytest.raises(DisagreementError, match="ada has found out otherwise"):
        rules.agreement(BOB, other, Proposal(DONE, ADA))


@pytest.mark.parametrize("name", ["ada", "Ada", " ada "])
def test_nobody_agrees_with_themselves(name):
    with pytest.raises(DisagreementError, match="a second person must agree"):
        rules.agreement(Author(name, "again"), SAME, Proposal(DONE, ADA))
    assert rules.agreement(Author(name, "no"), DidNotHappen(), Proposal(DONE, ADA)) == (name,)


def proposed(journal: Journal, attempt: int = 1, *, done: bool = False) -> Journal:
    said = {"proposal": {"done": done, "value": 7}, "by": "ada", "note": "seen"}
    return journal.add("refund", Kind.DECISION, said, attempt=attempt)


def test_a_proposal_waits_until_something_new_is_recorded():
    assert rules.pending_proposal([]) is None
    sent = Journal().sent("refund").lost("refund")
    assert rules.pending_proposal(entries(sent)) is None
    proposal = proposed(sent)
    assert rules.pending_proposal(entries(proposal)) == Proposal(DidNotHappen(), ADA)


def test_the_latest_proposal_counts():
    twice = proposed(proposed(Journal().sent("refund")), attempt=2, done=True)
    assert rules.pending_proposal(entries(twice)) == Proposal(Happened(b"7"), ADA)


@pytest.mark.parametrize(
    ("kind", "said", "attempt"),
    [
        (Kind.INTENT, {}, 2),
        (Kind.ATTEMPT, {"outcome": "unknown"}, 1),
        (Kind.EVIDENCE, {"answer": "missing"}, 1),
        (Kind.EVIDENCE, {"answer": "late", "outcome": "refused"}, -1),
        (Kind.DECISION, {"probe": True, "by": "bob"}, 2),
        (Kind.DECISION, {"done": False, "by": "bob"}, 2),
        (Kind.RESULT, 7, 0),
    ],
)
def test_what_makes_a_proposal_void(kind, said, attempt):
    """It was made in ignorance of that."""
    journal = proposed(Journal().sent("refund"))
    journal.add("refund", kind, said, attempt=attempt)
    assert rules.pending_proposal(entries(journal)) is None


# Going back -----------------------------------------------------------------------------------------------------------


def everything() -> Journal:
    journal = Journal().done("hello", 1)
    journal.sent("charge").add("charge", Kind.RESULT, "ch_1", seq=2, ok=True)
    journal.add("sleep", Kind.WAIT, 0.0).done("sleep", 3)
    journal.add("0:receive.go:x", Kind.WAIT).done("0:receive.go:x", 4)
    journal.done("sleeper", 5)
    journal.sent("0.1:charge#2").add("0.1:charge#2", Kind.RESULT, {}, seq=6, ok=False)
    return journal.sent("mail").lost("mail")


def test_what_going_back_keeps_and_what_it_does_again():
    plan = rules.plan_rewind(RUN, entries(everything()), "charge")
    assert (plan.seq, plan.last) == (2, 6)
    assert plan.kept == ("hello",)
    assert plan.settled_anew == ("charge",)
    assert plan.sent_anew == ("0.1:charge#2",)
    assert plan.waited_anew == ("sleep", "0:receive.go:x")
    assert plan.run_again == ("sleeper",)


def test_steps_and_transactions_are_run_again_only_if_that_is_allowed():
    plan = rules.plan_rewind(RUN, entries(everything()), "hello")
    assert plan.run_again == ("hello", "sleeper")
    with pytest.raises(UsageError, match=r"hello, sleeper.*--redo-transactions"):
        rules.require_redo_allowed(plan, redo_transactions=False)
    rules.require_redo_allowed(plan, redo_transactions=True)
    last = rules.plan_rewind(RUN, entries(everything()), "0.1:charge#2")
    rules.require_redo_allowed(last, redo_transactions=False)


@pytest.mark.parametrize("path", ["mail", "nowhere", "!settled"])
def test_only_to_an_answer(path):
    with pytest.raises(UsageError, match=f"no step {path} with an answer"):
        rules.plan_rewind(RUN, entries(everything().done("!settled", 7)), path)


def test_not_over_a_cancellation():
    journal = everything().done(CANCEL_TOPIC, 7)
    with pytest.raises(UsageError, match="is to stop"):
        rules.plan_rewind(RUN, entries(journal), "charge")
    journal.done("afterwards", 8)
    assert rules.plan_rewind(RUN, entries(journal), "afterwards").seq == 8


def test_not_over_what_was_undone_or_may_have_been():
    undone = everything().done("!settled", 7).done("!undo/charge", 8)
    with pytest.raises(UsageError, match=r"begun to undo .*\(charge\)"):
        rules.plan_rewind(RUN, entries(undone), "hello")
    unknown = everything().done("!settled", 7).sent("!undo/charge").lost("!undo/charge")
    with pytest.raises(UsageError, match=r"begun to undo .*\(charge\)"):
        rules.plan_rewind(RUN, entries(unknown), "hello")
    refused = everything().done("!settled", 7)
    assert rules.plan_rewind(RUN, entries(refused), "hello").seq == 1


def test_over_a_part_that_was_undone_before():
    journal = everything().done("!settled/saga", 7).done("!undo/charge", 8).done("later", 9)
    assert rules.plan_rewind(RUN, entries(journal), "later").kept[-1] == "0.1:charge#2"


def went_back(journal: Journal, first: int, last: int, attempt: int = 1) -> Journal:
    said = {"seq": first, "last": last, "by": "ada", "note": None}
    return journal.add("!rewind", Kind.DECISION, said, attempt=attempt)


def test_answers_that_do_not_count_any_more():
    journal = went_back(everything(), 3, 6)
    assert rules.superseded(entries(journal)) == {
        ("sleep", 0), ("0:receive.go:x", 0), ("sleeper", 0), ("0.1:charge#2", 0),
    }  # fmt: skip
    journal.add("sleeper", Kind.RESULT, 1, attempt=1, seq=7, ok=True)
    assert ("sleeper", 1) not in rules.superseded(entries(journal))
    assert rules.superseded(entries(everything())) == frozenset()


def test_going_back_twice():
    journal = went_back(everything(), 5, 6)
    with pytest.raises(UsageError, match="no step sleeper with an answer"):
        rules.plan_rewind(RUN, entries(journal), "sleeper")
    journal.add("sleeper", Kind.RESULT, 1, attempt=1, seq=7, ok=True)
    plan = rules.plan_rewind(RUN, entries(journal), "sleep")
    assert (plan.seq, plan.last) == (3, 7)
    assert plan.run_again == ("sleeper",)
    assert rules.superseded(entries(went_back(journal, 3, 7, 2))) >= {
        ("sleeper", 0),
        ("sleeper", 1),
    }


def test_what_an_entry_says():
    assert rules.said_by(Entry(RUN, "x", 1, 0, None, None, None, codec.encode([1]), 0.0)) == {}
    assert rules.said_by(Entry(RUN, "x", 1, 0, None, None, None, None, 0.0)) == {}
