"""One effect, for a screen: what was sent, what came back each time, who decided what became of it. Runs `effect.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from troth.command.model import Proposal
from troth.command.rules import finding_words, pending_proposal
from troth.journal.model import Kind
from troth.journal.reading import said_by
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view import run as view
from troth.view import store
from troth.view.attention import AttentionLine
from troth.view.effects import of_effect, only_path, raise_no_effect, waits_for
from troth.view.model import JournalEntry
from troth.view.parked import detail_of
from troth.view.run import MOST_TOLD, RunDetail
from troth.view.steps import Told
from troth.workflow.record import key_text

MOST_FINDING = 1024 * 1024  # bytes of what a person has said of an effect
MOST_ENTRIES = 1000

How: TypeAlias = Literal["people", "probe", "answer"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that an effect was sent. *what*: what came back; None if nothing is recorded. *size*: of what was sent."""

    number: int
    sent_at: datetime
    seconds: float | None
    what: str | None
    note: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an effect. *how*: who has decided that; *by*: the people, if people did. *note*: their evidence."""

    what: str
    how: How
    by: tuple[str, ...]
    note: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class EffectDetail:
    """All that is recorded of one effect, without payloads. *waits*: its run stopped at it, and *said* is how it stands.

    *key*: the idempotency key that the other side was given. *proposal*: a finding that waits for a second person; *proposed*: its entry.
    *cut*: there are older entries than those that are *told*.
    """

    run: RunDetail
    path: str
    key: str
    waits: bool
    said: Mapping[str, Any]
    told: tuple[Told, ...]
    attempts: tuple[Attempt, ...]
    verdict: Verdict | None
    proposal: Proposal | None
    proposed: Told | None
    cut: bool

    @property
    def settled_by(self) -> int:
        """How many people must agree on a finding, as the author of the step has it."""
        return int(self.said.get("settled_by", 1))


def queries(schema: str) -> Queries:
    """The statements about one effect."""
    return load("troth.view", schema, "effect.sql")


async def effect(tx: Tx, schema: str, run_id: UUID, path: str | None = None) -> EffectDetail:
    """One effect. *path* None: the one that the run stopped at, or the only one that it has sent.

    Raises `RunNotFoundError`, and `UsageError` if there is no such effect or if there are several.
    """
    run = await _run(tx, schema, run_id)
    stopped_at = waits_for(run.header) or None
    if path is None:
        path = stopped_at or only_path(run_id, await store.sent(tx, schema, run_id))
    told, cut = await entries(tx, schema, run_id, path)
    if not any(each.moment.entry.path == path for each in told) and path != stopped_at:
        raise_no_effect(run_id, path, await store.sent(tx, schema, run_id))
    own = [each.moment.entry for each in told if each.moment.entry.path == path]
    waits = path == stopped_at
    proposal = pending_proposal(own) if waits else None
    decided = [
        each for each in told if each.moment.entry.path == path and _kind(each) is Kind.DECISION
    ]
    said = (detail_of(run.header, payloads=False) or {}) if waits else {}
    decision = verdict(path, told)
    refusals = sum(each.moment.superseded and each.moment.entry.ok is False for each in told)
    return EffectDetail(
        run=run,
        path=path,
        key=str(said.get("key") or key_text(run_id, path, refusals)),
        waits=waits,
        said=said,
        told=told,
        attempts=attempts(path, told, decision),
        verdict=None if waits else decision,
        proposal=proposal,
        proposed=max(decided, key=lambda each: each.moment.entry.attempt) if proposal else None,
        cut=cut,
    )


async def _run(tx: Tx, schema: str, run_id: UUID) -> RunDetail:
    """A run, with what it was parked with, however large the arguments of its effect are."""
    run = await view.detail(tx, schema, run_id)
    if run.parked_with is None or run.header.detail is not None:
        return run
    row = await (await tx.execute(queries(schema).stands, {"id": run_id})).fetchone()
    return replace(run, header=replace(run.header, detail=None if row is None else row[0]))


async def entries(tx: Tx, schema: str, run_id: UUID, path: str) -> tuple[tuple[Told, ...], bool]:
    """What is recorded of one effect, in the order of time; and whether there is more that is older."""
    params = {
        "id": run_id, "path": path, "limit": MOST_TOLD, "finding": MOST_FINDING, "rows": MOST_ENTRIES + 1
    }  # fmt: skip
    rows = await (await tx.execute(queries(schema).entries, params)).fetchall()
    told = await view.told_of(tx, schema, run_id, list(reversed(rows[:MOST_ENTRIES])))
    about = {id(each) for each in of_effect(path, [each.moment.entry for each in told])}
    return (
        tuple(each for each in told if id(each.moment.entry) in about),
        len(rows) > MOST_ENTRIES,
    )


async def proposals(tx: Tx, schema: str, lines: Sequence[AttentionLine]) -> dict[UUID, Proposal]:
    """The findings that wait for a second person, of the effects that these runs stopped at, by run."""
    asked = [line for line in lines if line.path]
    params = {
        "runs": [line.run for line in asked],
        "paths": [line.path for line in asked],
        "finding": MOST_FINDING,
        "rows": len(asked),
    }
    rows = await (await tx.execute(queries(schema).proposals, params)).fetchall()
    found = {run: pending_proposal([JournalEntry(*row)]) for run, *row in rows}
    return {run: proposal for run, proposal in found.items() if proposal is not None}


# What the entries add up to -------------------------------------------------------------------------------------------


def verdict(path: str, told: Sequence[Told]) -> Verdict | None:
    """What became of an effect, from its entries in the order of time; None if that is open."""
    found: Verdict | None = None
    evidence = False
    for each in told:
        entry, said = each.moment.entry, said_by(each.moment.entry)
        about = entry.path == path
        match _kind(each):
            case Kind.INTENT if about:
                found, evidence = None, False
            case Kind.EVIDENCE if about and said.get("settles"):
                found = Verdict("it did not happen", "probe", (), each.moment.note, entry.at)
            case Kind.EVIDENCE if about:
                evidence = evidence or said.get("answer") == "found"
            case Kind.DECISION if "done" in said and (about or said.get("at") == path):
                names = (said.get("agrees_with"), said.get("by"))
                what = finding_words(path, done=said["done"])
                by = tuple(str(name) for name in names if name)
                found = Verdict(what, "people", by, said.get("note"), entry.at)
            case Kind.RESULT if about and each.moment.superseded:
                found, evidence = None, False
            case Kind.RESULT if about and not (found is not None and found.how == "people"):
                how: How = "probe" if evidence and entry.ok else "answer"
                found = Verdict(_RESULTS[entry.ok], how, (), each.moment.note, entry.at)
            case _:
                pass
    return found


_RESULTS = {True: "it happened", False: "it was refused", None: "it stays unknown"}


def attempts(path: str, told: Sequence[Told], decision: Verdict | None) -> tuple[Attempt, ...]:
    """Each time that an effect was sent, and what came back. Pure."""
    own = [each for each in told if each.moment.entry.path == path]
    ended = {
        abs(each.moment.entry.attempt): each.moment for each in own if _kind(each) is Kind.ATTEMPT
    }
    answers = [each.moment for each in own if _kind(each) is Kind.RESULT]
    sent = sorted(
        (each for each in own if _kind(each) is Kind.INTENT),
        key=lambda each: each.moment.entry.attempt,
    )
    found = []
    for each in sent:
        entry = each.moment.entry
        came = ended.get(entry.attempt)
        if came is None and each is sent[-1] and decision is not None and decision.how == "answer":
            came = next(
                (answer for answer in reversed(answers) if answer.entry.at >= entry.at), None
            )
        seconds = None if came is None else max(0.0, (came.entry.at - entry.at).total_seconds())
        found.append(
            Attempt(
                entry.attempt,
                entry.at,
                seconds,
                None if came is None else came.what,
                None if came is None else came.note,
                each.size,
            )
        )
    return tuple(found)


def _kind(told: Told) -> Kind:
    return Kind(told.moment.entry.kind)
