"""What a journal tells, as pure functions of its entries."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from troth.base import codec
from troth.journal.model import Kind, RunState
from troth.view.model import Filter, JournalEntry, Moment, as_json, difference, timeline

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


def test_a_difference_is_read_like_a_patch():
    assert difference(["a", "b", "c"], ["b", "d"]) == ["- a", "  b", "- c", "+ d"]


def test_filters_read_only_what_can_match():
    def reads(*states: RunState) -> tuple[bool, bool]:
        which = Filter(states=frozenset(states))
        return which.live, which.ended

    assert reads() == (True, True)
    assert reads(RunState.ATTENTION) == (True, False)
    assert reads(RunState.FAILED) == (False, True)
    assert reads(RunState.READY, RunState.SUCCEEDED) == (True, True)


def test_payloads_keep_every_digit():
    big = b'{"n":12345678901234567890123,"x":1.10}'
    assert codec.encode({"payload": as_json(big)}) == b'{"payload":' + big + b"}"
    assert as_json(None) is None
    assert json.loads(codec.encode(as_json(b"\xff"))) == "/w=="
