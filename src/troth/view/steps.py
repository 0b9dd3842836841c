"""A run told by its steps: what was recorded about each, in one line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from troth.journal.model import UNDO_PREFIX, Kind
from troth.journal.reading import said_by
from troth.view.model import Moment

# What a step is, from the kinds of its entries; the first that it has.
_IS = (
    (Kind.INTENT, "effect"),
    (Kind.CHILD, "child run"),
    (Kind.WAIT, "wait"),
    (Kind.DECISION, "person"),
    (Kind.PATCH, "patch"),
)
_ANSWERS = frozenset({Kind.RESULT, Kind.ATTEMPT, Kind.EVIDENCE})


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of a journal as it is told, and how many bytes it holds."""

    moment: Moment
    size: int | None

    @property
    def identity(self) -> tuple[str, int, int]:
        """In its run."""
        entry = self.moment.entry
        return entry.path, entry.kind, entry.attempt


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step with all that is recorded of it.

    *kind*: effect, step, child run, wait, person, patch, or the undoing of one. *what*: how it stands. *tone*: good, bad,
    ill or open, for its colour. *offset_s*: since the run was to begin; *seconds*: from its beginning to its last answer,
    None for a step of which only the answer is recorded. *attempts*: how often it was sent or tried. *answered*: the
    workflow knows.
    """

    path: str
    kind: str
    what: str
    tone: str
    first: datetime
    last: datetime
    offset_s: float
    seconds: float | None
    attempts: int
    note: str | None
    answered: bool
    child: UUID | None
    told: tuple[Told, ...]


def steps(told: Iterable[Told], starts_at: datetime) -> tuple[StepLine, ...]:
    """The lines of the steps that *told* is about, in the order in which they began."""
    by_path: dict[str, list[Told]] = {}
    for each in told:
        by_path.setdefault(each.moment.entry.path, []).append(each)
    lines = [_line(path, entries, starts_at) for path, entries in by_path.items()]
    return tuple(sorted(lines, key=lambda line: (line.first, line.path)))


def _line(path: str, told: Sequence[Told], starts_at: datetime) -> StepLine:
    entries = [each.moment.entry for each in told]
    kinds = {Kind(entry.kind) for entry in entries}
    kind = next((name for each, name in _IS if each in kinds), "step")
    latest = told[-1].moment
    answers = [
        each.moment
        for each in told
        if each.moment.entry.kind == Kind.RESULT and not each.moment.superseded
    ]
    answer = answers[-1] if answers else None
    shown = answer or latest
    begun = [entry.at for entry in entries if entry.kind in {Kind.INTENT, Kind.WAIT, Kind.CHILD}]
    ended = [entry.at for entry in entries if entry.kind in _ANSWERS]
    first = min(entry.at for entry in entries)
    notes = [each.moment.note for each in told if each.moment.note]
    tries = [entry.attempt for entry in entries if entry.kind in {Kind.INTENT, Kind.ATTEMPT}]
    return StepLine(
        path=path,
        kind=f"undo of {kind}" if path.startswith(UNDO_PREFIX) else kind,
        what=shown.what,
        tone=_tone(kind, answer, latest),
        first=first,
        last=max(entry.at for entry in entries),
        offset_s=max(0.0, (first - starts_at).total_seconds()),
        seconds=(max(ended) - min(begun)).total_seconds() if begun and ended else None,
        attempts=max(tries, default=0),
        note=shown.note or (notes[-1] if notes and answer is None else None),
        answered=answer is not None,
        child=_child(told),
        told=tuple(told),
    )


def _tone(kind: str, answer: Moment | None, latest: Moment) -> str:
    if answer is not None:
        return {True: "good", False: "ill", None: "bad"}[answer.entry.ok]
    if kind in {"person", "patch"}:
        return "calm"
    return "warn" if latest.entry.kind in {Kind.ATTEMPT, Kind.EVIDENCE} else "busy"


def _child(told: Iterable[Told]) -> UUID | None:
    for each in told:
        if each.moment.entry.kind == Kind.CHILD:
            run = said_by(each.moment.entry).get("run")
            return None if run is None else UUID(str(run))
    return None
