"""What a person sees of effects that somebody must settle. Frozen values and pure functions; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

from troth.base import codec
from troth.base.errors import UsageError
from troth.command.model import Proposal, Standing
from troth.command.rules import effect_of, pending_proposal
from troth.journal.model import RESUME_PATH, Reason, RunState
from troth.journal.reading import said_by
from troth.view.model import JournalEntry, Moment, RunHeader
from troth.view.timeline import timeline

# Runs that stand in attention for one of these may have stopped at an effect.
EFFECT_REASONS = (Reason.IN_DOUBT, Reason.UNDO_FAILED, Reason.RETRIES_EXHAUSTED)


@dataclass(frozen=True, slots=True)
class EffectStory:
    """All that is recorded of one effect. *waits*: its run stopped at it, and *detail* says how it stands.

    *proposal*: a finding that waits for a second person.
    """

    header: RunHeader
    path: str
    waits: bool
    detail: dict[str, Any]
    timeline: tuple[Moment, ...]
    proposal: Proposal | None

    @property
    def settled_by(self) -> int:
        """How many people must agree on a finding."""
        return int(self.detail.get("settled_by", 1))


def waits_for(header: RunHeader) -> str | None:
    """The path of the effect that a run in attention stopped at, if it did."""
    if header.line.state != RunState.ATTENTION or header.line.reason is None:
        return None
    return effect_of(Standing(Reason(header.line.reason), codec.decode(header.detail or b"{}")))


def of_effect(path: str, entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """The entries that tell of one effect: its own, and the decisions to go on that spoke of nothing else."""
    return [
        entry
        for entry in entries
        if entry.path != RESUME_PATH or said_by(entry).get("at") in {None, path}
    ]


def effect_story(header: RunHeader, path: str, entries: Sequence[JournalEntry]) -> EffectStory:
    """The story of one effect, from what `of_effect` left."""
    waits = waits_for(header) == path
    own = [entry for entry in entries if entry.path == path]
    return EffectStory(
        header=header,
        path=path,
        waits=waits,
        detail=codec.decode(header.detail or b"{}") if waits else {},
        timeline=timeline(entries),
        proposal=pending_proposal(own) if waits else None,
    )


def only_path(run_id: UUID, sent: Sequence[str]) -> str:
    """The only effect that a run has sent. Raises `UsageError` if there is none, or more than one."""
    if len(sent) != 1:
        raise_no_effect(run_id, None, sent)
    return sent[0]


def raise_no_effect(run_id: UUID, path: str | None, sent: Sequence[str]) -> NoReturn:
    """Raise a `UsageError` that names the effects there are."""
    has = f"it has sent {', '.join(sent)}" if sent else "it has sent none"
    missing = "more than one effect, or none: say which" if path is None else f"no effect {path}"
    msg = f"run {run_id} has {missing} ({has})"
    raise UsageError(msg)
