"""The story that a journal tells: each entry in a word and a note, and what it adds up to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from troth.base import codec
from troth.command.rules import finding_words
from troth.journal.model import (
    CANCEL_TOPIC,
    FORK_PATH,
    REWIND_PATH,
    SEND_PATH,
    SETTLED_PATH,
    UNDO_PREFIX,
    Kind,
)
from troth.journal.reading import said_by, superseded
from troth.view.model import JournalEntry, Moment, Undoing, from_seconds

_ANSWERS = frozenset({Kind.RESULT, Kind.ATTEMPT, Kind.EVIDENCE})


def timeline(
    entries: Sequence[JournalEntry],
    *,
    rewinds: Sequence[JournalEntry] = (),
    begun: Mapping[str, datetime] = MappingProxyType({}),
) -> tuple[Moment, ...]:
    """The story that a journal tells, in the order in which things were recorded.

    Of a part of a journal: *rewinds* are the entries of `REWIND_PATH` of all of it, and *begun* says when what goes on in
    this part had begun before it, by path.
    """
    began: dict[str, datetime] = dict(begun)
    gone = superseded([*entries, *rewinds])
    moments: list[Moment] = []
    for entry in sorted(entries, key=lambda e: (e.at, e.kind in _ANSWERS, e.seq or 0)):
        start = began.get(entry.path)
        if entry.kind in (Kind.INTENT, Kind.WAIT, Kind.CHILD):
            began[entry.path] = entry.at
        said = said_by(entry)
        moments.append(
            Moment(
                entry,
                what=_WORDS[Kind(entry.kind)](entry, said),
                seconds=_seconds(entry, said, start),
                note=_NOTES[Kind(entry.kind)](entry, said),
                superseded=entry.kind == Kind.RESULT and (entry.path, entry.attempt) in gone,
            )
        )
    return tuple(moments)


def undoing(entries: Sequence[JournalEntry]) -> Undoing | None:
    """How far a run has undone what it did; None if it has not begun to.

    Only effects can be seen to stand: the journal does not tell transactions from other steps.
    """
    gone = superseded(entries)
    answers: dict[str, JournalEntry] = {}
    for entry in sorted(entries, key=lambda each: each.seq or 0):
        if entry.kind == Kind.RESULT and (entry.path, entry.attempt) not in gone:
            answers[entry.path] = entry
    if not any(path.startswith((SETTLED_PATH, UNDO_PREFIX)) for path in answers):
        return None
    sent = dict.fromkeys(entry.path for entry in entries if entry.kind == Kind.INTENT)
    undone = {
        path.removeprefix(UNDO_PREFIX): None
        for path, answer in answers.items()
        if path.startswith(UNDO_PREFIX) and answer.ok
    }
    stands = [
        path
        for path, answer in answers.items()
        if path in sent and answer.ok and path not in undone and not path.startswith(UNDO_PREFIX)
    ]
    return Undoing(
        undone=tuple(undone),
        open=tuple(path for path in sent if path not in answers),
        stands=tuple(stands) if SETTLED_PATH in answers else None,
    )


def decision_text(said: Mapping[str, Any], path: str = "") -> str:
    """A decision of a person about *path*, in words."""
    names = " and ".join(str(said[who]) for who in ("agrees_with", "by") if said.get(who))
    note = f": {said['note']}" if said.get("note") else ""
    return f"by {names or None}{_verdict(said, said.get('at', path))}{note}"


def _verdict(said: Mapping[str, Any], path: str) -> str:
    if "proposal" in said:
        proposed = finding_words(path, done=said["proposal"]["done"])
        return f", who proposes: {proposed}; another person must agree"
    if said.get("probe"):
        return ", to be asked again"
    if "of" in said or "into" in said:
        relation = f"of {said['of']}" if "of" in said else f"into {said['into']}"
        return f", {relation}, before {said['from']}"
    if "seq" in said:
        return f", back to before {said.get('from', said['seq'])}"
    return f", {finding_words(path, done=said['done'])}" if "done" in said else ""


# One word for each entry ----------------------------------------------------------------------------------------------

_Said = Mapping[str, Any]

_RESULTS = {True: "done", False: "refused", None: "unknown"}


def _result_word(entry: JournalEntry, _said: _Said) -> str:
    if entry.path in _BY_PATH:
        return _BY_PATH[entry.path]
    if entry.path.startswith(f"{SETTLED_PATH}/"):
        return _BY_PATH[SETTLED_PATH]
    if entry.path.rpartition(":")[2].startswith(("receive.", "receive_any")):
        return "timed out" if entry.ok is False else "done"
    return _RESULTS[entry.ok]


_BY_PATH = {CANCEL_TOPIC: "heard", SETTLED_PATH: "undo begins"}


def _attempt_word(_entry: JournalEntry, said: _Said) -> str:
    if "outcome" not in said:
        return "attempt failed"
    return "no answer" if said["outcome"] == "unknown" else str(said["outcome"])


def _decision_word(entry: JournalEntry, said: _Said) -> str:
    if entry.path == REWIND_PATH:
        return "went back"
    if entry.path == FORK_PATH:
        return "forked"
    if entry.path == SEND_PATH:
        return "message"
    return "proposal" if "proposal" in said else "decision"


def _evidence_word(_entry: JournalEntry, said: _Said) -> str:
    answer = said.get("answer")
    return "late answer" if answer == "late" else f"probe: {answer}"


_WORDS: dict[Kind, Callable[[JournalEntry, _Said], str]] = {
    Kind.INTENT: lambda _entry, _said: "intent",
    Kind.RESULT: _result_word,
    Kind.WAIT: lambda _entry, _said: "waits",
    Kind.ATTEMPT: _attempt_word,
    Kind.DECISION: _decision_word,
    Kind.EVIDENCE: _evidence_word,
    Kind.CHILD: lambda _entry, _said: "run started",
    Kind.PATCH: lambda entry, _said: "new branch" if entry.ok else "old branch",
    Kind.ORIGIN: lambda _entry, _said: "goes on",
}


# What each entry says about itself, without what the step was given or returned ---------------------------------------


def _seconds(entry: JournalEntry, said: _Said, start: datetime | None) -> float | None:
    if start is None or entry.kind not in _ANSWERS:
        return None
    # A probe's answer took the time since the probe began, and that is what it says of itself.
    begun = from_seconds(said["begun"]) if "begun" in said else start
    return max(0.0, (entry.at - begun).total_seconds())


def _result_note(entry: JournalEntry, said: _Said) -> str | None:
    if entry.path == CANCEL_TOPIC:
        return decision_text(said) if "by" in said else None
    if entry.ok is False and "type" in said:
        return f"{said['type']}: {said.get('message')}"
    return str(said["message"]) if entry.ok is None and said.get("message") else None


def _attempt_note(_entry: JournalEntry, said: _Said) -> str:
    words = ["type", "message"]
    if said.get("outcome") == "unknown":
        words.insert(0, "outcome")
    return ": ".join(str(said[word]) for word in words if said.get(word))


def _wait_note(entry: JournalEntry, said: _Said) -> str:
    until = said.get("until") if said else codec.decode(entry.payload or b"null")
    because = said.get("because")
    if until is None:
        return because or "for a message"
    return f"until {from_seconds(until):%F %T} UTC" + (f": {because}" if because else "")


def _evidence_note(_entry: JournalEntry, said: _Said) -> str | None:
    parts = [str(said[word]) for word in ("outcome", "message") if said.get(word)]
    if said.get("answer") == "missing" and not said.get("settles"):
        parts.append("too early to count: it may still arrive")
    return "; ".join(parts) or None


_NOTES: dict[Kind, Callable[[JournalEntry, _Said], str | None]] = {
    Kind.INTENT: lambda _entry, _said: None,
    Kind.RESULT: _result_note,
    Kind.WAIT: _wait_note,
    Kind.ATTEMPT: _attempt_note,
    Kind.DECISION: lambda entry, said: decision_text(said, entry.path),
    Kind.EVIDENCE: _evidence_note,
    Kind.CHILD: lambda _entry, said: f"run {said.get('run')}",
    Kind.PATCH: lambda _entry, _said: None,
    Kind.ORIGIN: lambda _entry, said: f"from run {said.get('run')}, whose work stands",
}
