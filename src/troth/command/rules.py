"""What a person may do, given what is recorded. Pure: entries and findings in, a decision out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.base.errors import UsageError
from troth.command.model import (
    Author,
    DidNotHappen,
    DisagreementError,
    Finding,
    Happened,
    Proposal,
    Proposed,
    Rewind,
    Standing,
)
from troth.journal.model import BEGUN, CANCEL_TOPIC, SETTLED_PATH, UNDO_PREFIX, Kind, Reason
from troth.journal.reading import Recorded, said_by, superseded

# The branch that it is on, then what waits.
_WAITS = re.compile(r"([\d.]+:)?(sleep(#\d+)?\Z|receive\.)")
# An escaped NUL, and not an escaped backslash before "u0000".
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


# Findings -------------------------------------------------------------------------------------------------------------


def effect_of(standing: Standing) -> str | None:
    """The path of the effect, or of the undo, that a run in attention stopped at; None if it was not for such."""
    at = str(standing.detail.get("at", ""))
    settles = {
        Reason.IN_DOUBT: True,
        Reason.RETRIES_EXHAUSTED: "key" in standing.detail,  # of an effect, not of a step
        Reason.UNDO_FAILED: at.startswith((UNDO_PREFIX, SETTLED_PATH)),
    }
    return at if settles.get(standing.reason, False) else None


def require_effect(run_id: UUID, standing: Standing, path: str | None) -> str:
    """The effect that a finding is about: *path*, or the one that the run stopped at.

    Raises `UsageError` if the run waits for something else.
    """
    found = effect_of(standing)
    if found is None:
        msg = (
            f"run {run_id} stopped for another reason than an effect ({standing.reason}): there is nothing to find out "
            f"about the other side. Mend the cause, then: troth run resume {run_id}"
        )
        raise UsageError(msg)
    if path not in {None, found}:
        msg = f"run {run_id} does not wait for {path} to be settled, but for {found}"
        raise UsageError(msg)
    return found


def require_evidence(author: Author, finding: Finding) -> None:
    """Raise `UsageError` for "it did not happen" without a word on how that was found out."""
    if isinstance(finding, DidNotHappen) and not (author.note or "").strip():
        msg = (
            "say how you know that it did not happen and cannot any more (--evidence): it may be sent again, and if you "
            "are wrong, it happens twice"
        )
        raise UsageError(msg)


def require_late_look(run_id: UUID, standing: Standing, finding: Finding) -> None:
    """Raise `UsageError` for "it did not happen" while it still can: who looked until now may have looked too early."""
    until_s = standing.detail.get("lands_until")
    if isinstance(finding, DidNotHappen) and until_s is not None and standing.now_s < until_s:
        at = datetime.fromtimestamp(until_s, UTC)
        msg = (
            f"what run {run_id} sent can still arrive until {at:%F %T} UTC, so nobody can know that it did not happen. Look "
            "again after that, and settle it then"
        )
        raise UsageError(msg)


def attempts_of(entries: Iterable[Recorded]) -> int:
    """How many attempts a finding is about: those that were sent before it."""
    return max((each.attempt for each in entries if each.kind == Kind.INTENT), default=0)


def require_probe(run_id: UUID, standing: Standing, path: str, *, anyway: bool) -> None:
    """Raise `UsageError` unless there is something to ask about, and a way to."""
    if standing.reason is not Reason.IN_DOUBT:
        msg = f"{path} of run {run_id} is not in doubt ({standing.reason}): there is nothing to ask"
        raise UsageError(msg)
    if not standing.detail.get("probed", True) and not anyway:
        msg = (
            f"{path} had no probe when run {run_id} stopped, so no worker could ask. Look at the other side yourself, then: "
            f"troth effect settle {run_id}. If you have deployed a probe since then: troth effect probe {run_id} --anyway"
        )
        raise UsageError(msg)


def pending_proposal(entries: Iterable[Recorded]) -> Proposal | None:
    """The finding that waits for a second person, from the entries of one effect.

    Whatever is recorded of the effect after it makes it void: another attempt, a probe's answer, a decision.
    """
    of_effect = list(entries)
    decisions = [each for each in of_effect if each.kind == Kind.DECISION]
    if not decisions:
        return None
    latest = max(decisions, key=lambda each: each.attempt)
    said = said_by(latest)
    if "proposal" not in said:
        return None
    if any(each.at > latest.at for each in of_effect if each.kind != Kind.DECISION):
        return None
    proposed = said["proposal"]
    finding = Happened(codec.encode(proposed["value"])) if proposed["done"] else DidNotHappen()
    return Proposal(finding, Author(said["by"], said.get("note")))


def agreement(author: Author, finding: Finding, pending: Proposal | None) -> tuple[str, ...]:
    """Who stands behind a finding once *author* has said it, in order.

    Raises `DisagreementError` if another person has found out something else, or if the same one says it again.
    """
    if pending is None:
        return (author.by,)
    same = _comparable(finding) == _comparable(pending.finding)
    other = not same_person(author.by, pending.author.by)
    if other and not same:
        msg = (
            f"{pending.author.by} has found out otherwise, so nothing is decided. Find out "
            f"together what is true; then either {pending.author.by} proposes it and you agree, or you propose what they did"
        )
        raise DisagreementError(msg)
    if same and not other:
        msg = (
            f"{author.by} has said so already, and a second person must agree (another --by). To withdraw it, "
            "propose something else"
        )
        raise DisagreementError(msg)
    return (pending.author.by, author.by) if other else (author.by,)


def finding_words(path: str, *, done: bool) -> str:
    """A finding about the effect at *path*, in words."""
    if path.startswith((UNDO_PREFIX, SETTLED_PATH)):
        return "it is undone" if done else "it is not undone"
    return "it happened" if done else "it did not happen"


def _comparable(finding: Finding) -> bytes | None:
    """The same for equal findings: white space and the order of fields say nothing."""
    return codec.encode(codec.decode(finding.value)) if isinstance(finding, Happened) else None


# The desk -------------------------------------------------------------------------------------------------------------


def same_person(one: str, other: str) -> bool:
    """Do two names mean one person? Upper case and white space around them say nothing."""
    return one.strip().casefold() == other.strip().casefold()


def require_author(author: Author, about: str) -> None:
    """Raise `UsageError` for an act that cannot be written down: by nobody, or with what PostgreSQL's text does not have."""
    if not author.by.strip():
        raise UsageError("say who acts (--by): an act of nobody is not recorded, and so not done")
    if any("\0" in text for text in (author.by, author.note or "", about)):
        raise UsageError("a name, a note or an id has a NUL character, which is in no text")


def recordable(act: str, details: Mapping[str, Any]) -> Mapping[str, Any]:
    """The details, if they can be written down. Raises `UsageError` for a NUL character, which PostgreSQL's JSON lacks."""
    if _NUL.search(codec.encode(details)):
        raise UsageError(f"the details of {act} have a NUL character, which cannot be recorded")
    return details


def second_person(author: Author, proposed: Proposed) -> str:
    """Who proposed what *author* does now. Raises `DisagreementError` if that is the same person."""
    if same_person(author.by, proposed.by):
        msg = (
            f"{author.by} has proposed this already, and a second person must do the same until {proposed.until:%F %T} "
            f"UTC. To take it back: troth audit withdraw {proposed.id}"
        )
        raise DisagreementError(msg)
    return proposed.by


# Going back -----------------------------------------------------------------------------------------------------------


def plan_rewind(run_id: UUID, entries: Sequence[Recorded], path: str) -> Rewind:
    """What it means to go back to before the answer of *path*.

    Raises `UsageError` if that has no answer, or if the way back leads over what cannot be taken back.
    """
    gone = superseded(entries)
    answers = sorted(
        (e for e in entries if e.kind == Kind.RESULT and (e.path, e.attempt) not in gone),
        key=_place,
    )
    found = next((each for each in reversed(answers) if each.path == path), None)
    if found is None or path.startswith("!"):
        msg = (
            f"run {run_id} has no step {path} with an answer to go back to: troth run show {run_id}"
        )
        raise UsageError(msg)
    back = [each for each in answers if _place(each) >= _place(found)]
    sent = {each.path for each in entries if each.kind in BEGUN}
    _require_way_back(run_id, back, sent - {each.path for each in answers})

    redone = [each for each in back if not each.path.startswith("!")]
    kept = [e.path for e in answers if _place(e) < _place(found) and not e.path.startswith("!")]
    effects = [each for each in redone if each.path in sent]
    others = [each.path for each in redone if each.path not in sent]
    return Rewind(
        path=path,
        seq=_place(found),
        last=max(_place(each) for each in entries if each.kind == Kind.RESULT),
        kept=tuple(kept),
        settled_anew=tuple(each.path for each in effects if each.ok is not False),
        sent_anew=tuple(each.path for each in effects if each.ok is False),
        run_again=tuple(each for each in others if not _WAITS.match(each)),
        waited_anew=tuple(filter(_WAITS.match, others)),
    )


def is_wait(path: str) -> bool:
    """Is it a sleep or a receive?"""
    return _WAITS.match(path) is not None


def _place(answer: Recorded) -> int:
    """Where it stands in the order in which the workflow was told."""
    return answer.seq or 0


def _require_way_back(run_id: UUID, back: Iterable[Recorded], unanswered: Collection[str]) -> None:
    if any(each.path == CANCEL_TOPIC for each in back):
        msg = f"run {run_id} has heard since then that it is to stop; going back would forget that"
        raise UsageError(msg)
    undone = [e.path for e in back if e.path.startswith(UNDO_PREFIX) and e.ok is not False]
    undone += sorted(path for path in unanswered if path.startswith(UNDO_PREFIX))
    if undone:
        names = ", ".join(each.removeprefix(UNDO_PREFIX) for each in undone)
        msg = (
            f"run {run_id} has begun to undo since then ({names}): the world is not any more as its journal says. Let it "
            "end, and start another run"
        )
        raise UsageError(msg)


def require_redo_allowed(plan: Rewind, *, redo_transactions: bool) -> None:
    """Raise `UsageError` if transactions might be committed again that nobody has agreed to."""
    if plan.run_again and not redo_transactions:
        msg = (
            f"going back to {plan.path} runs {', '.join(plan.run_again)} again. What a transaction among them has committed "
            "stays, and is committed once more: see that this is harmless, then say --redo-transactions"
        )
        raise UsageError(msg)
