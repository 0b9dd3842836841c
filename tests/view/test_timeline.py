"""What a journal tells, as pure functions of its entries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from troth.base import codec
from troth.journal.model import Kind
from troth.view.model import JournalEntry, Moment, Undoing
from troth.view.timeline import decision_text, timeline, undoing

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def entry(
    path: str, kind: Kind, after_s: float, said: object = None, **more: object
) -> JournalEntry:
    fields = {"attempt": 0, "seq": None, "ok": None, "payload": codec.encode(said)} | more
    return JournalEntry(path=path, kind=kind, at=START + timedelta(seconds=after_s), **fields)


def told(*entries: JournalEntry) -> list[tuple[str, str, float | None, str | None]]:
    def line(moment: Moment) -> tuple[str, str, float | None, str | None]:
        return moment.entry.path, moment.what, moment.seconds, moment.note

    return [line(moment) for moment in timeline(entries)]


def test_an_effect_that_was_sent_twice():
    story = told(
        entry("charge", Kind.RESULT, 9, "ch_1", ok=True, seq=1),
        entry("charge", Kind.INTENT, 0, [700], attempt=1),
        entry("charge", Kind.INTENT, 8, [700], attempt=2),
        entry("charge", Kind.ATTEMPT, 5, {"outcome": "unknown", "message": "reset"}, attempt=1),
    )
    assert story == [
        ("charge", "intent", None, None),
        ("charge", "no answer", 5.0, "unknown: reset"),
        ("charge", "intent", None, None),
        ("charge", "done", 1.0, None),
    ]


def test_results_are_told_without_what_they_contain():
    assert told(entry("read", Kind.RESULT, 1, "secret", ok=True)) == [("read", "done", None, None)]


def test_waits_failures_and_decisions():
    assert told(
        entry("sleep", Kind.WAIT, 0, START.timestamp() + 60),
        entry("receive.go", Kind.WAIT, 1, None),
        entry("read", Kind.ATTEMPT, 2, {"type": "OSError", "message": "gone"}, attempt=1),
        entry(
            "buy", Kind.RESULT, 3, {"type": "Refused", "message": "no", "args": ["no"]}, ok=False
        ),
        entry("!resume", Kind.DECISION, 4, {"by": "ada", "note": "look", "done": False}, attempt=1),
        entry("sleep", Kind.RESULT, 60, None, ok=True),
        entry("!cancel", Kind.RESULT, 61, {"by": "bob", "note": None}, ok=True),
    ) == [
        ("sleep", "waits", None, "until 2026-11-24 12:01:00 UTC"),
        ("receive.go", "waits", None, "for a message"),
        ("read", "attempt failed", None, "OSError: gone"),
        ("buy", "refused", None, "Refused: no"),
        ("!resume", "decision", None, "by ada, it did not happen: look"),
        ("sleep", "done", 60.0, None),
        ("!cancel", "heard", None, "by bob"),
    ]


def test_what_was_found_out_is_told_in_words():
    begun = START.timestamp() + 9
    assert told(
        entry("charge", Kind.INTENT, 0, [700], attempt=1),
        entry("charge", Kind.ATTEMPT, 5, {"outcome": "not done", "message": "429"}, attempt=1),
        entry("charge", Kind.EVIDENCE, 10, {"answer": "missing", "begun": begun, "settles": False}, attempt=1),
        entry("charge", Kind.EVIDENCE, 11, {"answer": "error", "begun": begun, "message": "503"}, attempt=2),
        entry("charge", Kind.EVIDENCE, 12, {"answer": "missing", "begun": begun, "settles": True}, attempt=3),
        entry("charge", Kind.EVIDENCE, 13, {"answer": "found", "begun": begun, "value": "secret"}, attempt=4),
        entry("charge", Kind.EVIDENCE, 14, {"answer": "late", "outcome": "done", "value": "secret"}, attempt=-1),
    ) == [
        ("charge", "intent", None, None),
        ("charge", "not done", 5.0, "429"),
        ("charge", "probe: missing", 1.0, "too early to count: it may still arrive"),
        ("charge", "probe: error", 2.0, "503"),
        ("charge", "probe: missing", 3.0, None),
        ("charge", "probe: found", 4.0, None),
        ("charge", "late answer", 14.0, "done"),
    ]  # fmt: skip


def test_a_wait_says_what_for():
    until = START.timestamp() + 60
    assert told(
        entry("charge", Kind.WAIT, 0, {"until": until, "because": "stripe: 100 requests a second"}),
        entry("charge", Kind.WAIT, 1, {"until": None, "because": "the breaker of stripe is open"}),
    ) == [
        ("charge", "waits", None, "until 2026-11-24 12:01:00 UTC: stripe: 100 requests a second"),
        ("charge", "waits", None, "the breaker of stripe is open"),
    ]


def test_answers_that_are_neither_yes_nor_no():
    assert told(
        entry("charge", Kind.RESULT, 0, {"message": "reset"}, ok=None, seq=1),
        entry("0:receive.go", Kind.RESULT, 1, "hi", ok=None, seq=2),
        entry("receive.go#2", Kind.RESULT, 2, None, ok=False, seq=3),
        entry("!settled/saga", Kind.RESULT, 3, None, ok=True, seq=4),
        entry("!settled", Kind.RESULT, 4, None, ok=True, seq=5),
    ) == [
        ("charge", "unknown", None, "reset"),
        ("0:receive.go", "done", None, None),
        ("receive.go#2", "timed out", None, None),
        ("!settled/saga", "undo begins", None, None),
        ("!settled", "undo begins", None, None),
    ]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"by": "ada"}, "by ada"),
        ({"by": "ada", "done": True, "note": "seen"}, "by ada, it happened: seen"),
        ({"by": "bob", "done": False, "agrees_with": "ada"}, "by ada and bob, it did not happen"),
        ({"by": "ada", "probe": True, "note": "now"}, "by ada, to be asked again: now"),
        (
            {"by": "ada", "proposal": {"done": False}, "note": "n"},
            "by ada, who proposes: it did not happen; another person must agree: n",
        ),
        ({"by": "ada", "seq": 3, "from": "charge"}, "by ada, back to before charge"),
    ],
)
def test_decisions_in_words(said, text):
    assert decision_text(said) == text


def test_decisions_about_an_undo():
    assert decision_text({"by": "ada", "at": "!undo/x", "done": True}) == "by ada, it is undone"
    assert decision_text({"by": "ada", "done": False}, "!undo/x") == "by ada, it is not undone"


def rewound() -> list[JournalEntry]:
    return [
        entry("hello", Kind.RESULT, 0, 1, ok=True, seq=1),
        entry("book", Kind.RESULT, 1, 2, ok=True, seq=2),
        entry("!rewind", Kind.DECISION, 2, {"seq": 2, "last": 2, "from": "book", "by": "ada"}, attempt=1),
        entry("book", Kind.RESULT, 3, 3, ok=True, seq=3, attempt=1),
    ]  # fmt: skip


def test_answers_that_do_not_count_any_more_are_marked():
    assert [(m.what, m.superseded) for m in timeline(rewound())] == [
        ("done", False),
        ("done", True),
        ("went back", False),
        ("done", False),
    ]


def sent_and_done(path: str, seq: int, *, ok: bool = True) -> list[JournalEntry]:
    return [
        entry(path, Kind.INTENT, seq, {}, attempt=1),
        entry(path, Kind.RESULT, seq, {}, ok=ok, seq=seq),
    ]


def test_how_far_it_is_undone():
    journal = [
        *sent_and_done("customer", 1),
        *sent_and_done("charge", 2),
        entry("book", Kind.RESULT, 3, {}, ok=True, seq=3),
        *sent_and_done("mail", 4, ok=False),
    ]
    assert undoing(journal) is None
    journal.append(entry("!settled", Kind.RESULT, 5, None, ok=True, seq=5))
    assert undoing(journal) == Undoing((), (), ("customer", "charge"))
    journal.append(entry("!undo/book", Kind.RESULT, 6, None, ok=True, seq=6))
    journal.append(entry("!undo/charge", Kind.INTENT, 7, {}, attempt=1))
    assert undoing(journal) == Undoing(("book",), ("!undo/charge",), ("customer", "charge"))
    journal.append(entry("!undo/charge", Kind.RESULT, 8, {}, ok=False, seq=7))
    assert undoing(journal) == Undoing(("book",), (), ("customer", "charge"))
    journal.append(entry("!undo/charge", Kind.RESULT, 9, None, ok=True, seq=8, attempt=1))
    assert undoing(journal) == Undoing(("book", "charge"), (), ("customer",))


def test_a_part_that_is_undone_leaves_the_rest_alone():
    journal = [
        *sent_and_done("customer", 1),
        *sent_and_done("payout", 2),
        entry("!settled/saga", Kind.RESULT, 3, None, ok=True, seq=3),
        *sent_and_done("!undo/payout", 4),
    ]
    assert undoing(journal) == Undoing(("payout",), (), None)
