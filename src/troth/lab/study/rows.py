"""Evidence in databases: races, missing constraints, what is committed apart or not with its effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from troth.lab import describe
from troth.lab.study import varied
from troth.lab.study.evidence import Case, Proposal, Rule
from troth.lab.study.trace import Event

_TELLING = ("user", "account", "order", "reference", "key", "email", "customer", "event")


def _races(case: Case) -> Iterator[Proposal]:
    for read in case.events:
        if not read.reads or read.locks:
            continue
        for other in case.events:
            names = {
                name.rpartition(".")[2]
                for name in other.changed
                if name.startswith(f"{read.target}.")
            }
            touched = frozenset(names & read.reads)
            if other.attempt == read.attempt or other.number < read.number or not touched:
                continue
            later = [
                e
                for e in case.after(read)
                if e.number > other.number and (e.commits or e.changed or (e.is_effect and e.done))
            ]
            computed = [
                e
                for e in case.after(read)
                if e.writes & touched and e.text.lstrip().lower().startswith("update")
            ]
            if computed and any(e.commits and e.changed for e in later):
                yield _lost_update(case, (read, other, computed[-1]), touched)
            elif later:
                yield Proposal(
                    "check, then act",
                    "Between the look and what is decided by it, another may do the same. Let the database decide: a unique constraint, one"
                    " UPDATE … WHERE with the condition in it, or a lock that is taken before the look.",
                    f"{_said(read)} was true when it was read, and no longer when it was acted upon",
                    "likely", (read, other, later[0]), varied.one_by_one(),
                )  # fmt: skip


def _said(read: Event) -> str:
    return "that there was no row" if read.found == 0 else "what it said"


def _lost_update(case: Case, events: tuple[Event, ...], touched: frozenset[str]) -> Proposal:
    return Proposal(
        "lost update",
        "Do not write a value that was computed from an earlier read. Change it where it is (UPDATE … SET x = x + …, with the condition in"
        " WHERE), or lock the row when it is read (SELECT … FOR UPDATE), or compare a version.",
        f"{', '.join(sorted(touched))} was read, then changed by another, then overwritten",
        "certain", events,
        varied.row_locks(touched) if case.locking else varied.one_by_one(),
    )  # fmt: skip


def _no_constraint(case: Case) -> Iterator[Proposal]:
    writers: dict[str, list[Event]] = {}
    for one in case.events:
        for name in one.grew if one.commits or one.kind == "sql" else ():
            writers.setdefault(name, []).append(one)
    for name, events in sorted(writers.items()):
        columns = _same_columns(case.rows.get(name, []))
        if len(events) > 1 and columns:
            database, _, table = name.partition(".")
            yield Proposal(
                "no constraint",
                f"Let the database refuse the second row: UNIQUE ({', '.join(columns)}) on {table}, and INSERT … ON CONFLICT DO NOTHING.",
                f"{table} was written twice, and nothing prevented it",
                "likely", tuple(events), varied.constrained(database, table, columns),
            )  # fmt: skip


def _same_columns(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """The columns in which two rows agree and that say what the row is about."""
    for number, first in enumerate(rows):
        for second in rows[number + 1 :]:
            same = [
                name
                for name, value in first.items()
                if name != "id" and value is not None and second.get(name) == value
            ]
            telling = [
                name
                for name in same
                if name.endswith("_id") or any(word in name for word in _TELLING)
            ]
            if telling:
                return tuple(telling[:1])
    return ()


def _claims(case: Case) -> Iterator[Proposal]:
    claims = [
        one for one in case.events if one.writes and one.text.lstrip().lower().startswith("update")
    ]
    for number, first in enumerate(claims):
        for second in claims[number + 1 :]:
            if second.attempt == first.attempt or (second.target, second.text) != (
                first.target,
                first.text,
            ):
                continue
            work = [e for e in (*case.after(first), *case.after(second)) if e.is_effect and e.done]
            if len({e.attempt for e in work}) > 1:
                yield Proposal(
                    "claim without a condition",
                    "Claim with one UPDATE … WHERE it is still free, go on only if it changed a row, and fence what follows by the claim.",
                    f"two attempts claimed the same by {describe.short(first.text, 60)!r}, and both went on",
                    "likely", (first, second, *work[:2]), varied.one_by_one(),
                )  # fmt: skip


def _two_commits(case: Case) -> Iterator[Proposal]:
    for attempt in case.attempts():
        mine = case.of(attempt)
        commits = [one for one in mine if one.commits and one.changed]
        faults = [one for one in mine if one.fault and commits and one.number > commits[0].number]
        before = [one for one in commits if faults and one.number < faults[0].number]
        if before and case.goes_on(before[-1]):
            yield Proposal(
                "two commits for one thing",
                "What belongs together is committed together, or the first commit records what is still to be done, and every attempt goes on"
                " from there.",
                "the first commit was done, and a fault came before the rest",
                "likely", (*before, faults[0]), varied.as_one(before[-1].pending),
            )  # fmt: skip


def _no_inbox(case: Case) -> Iterator[Proposal]:
    commits = [one for one in case.events if one.commits and one.changed and one.pending]
    for number, first in enumerate(commits):
        for second in commits[number + 1 :]:
            begun = next(one.number for one in case.of(second.attempt))
            same = (first.actor, first.pending) == (second.actor, second.pending)
            later = first.attempt != second.attempt and begun > first.number
            if same and later and not case.goes_on(first):
                yield Proposal(
                    "no inbox",
                    "Let whoever asks send a key or an event's id, and insert it, unique, in the transaction that does the work: the second time"
                    " the insert finds it, and the answer is that of the first.",
                    "the same request was asked again after it had been committed, and committed the same again",
                    "likely", (first, second), None, "what tells one request from another is in the code",
                )  # fmt: skip


def _dual_writes(case: Case) -> Iterator[Proposal]:
    for attempt in case.attempts():
        mine = case.of(attempt)
        for effect in mine:
            if not (effect.is_effect and effect.grew):
                continue
            rest = [one for one in mine if one.number >= effect.number]
            fault = next((one for one in rest if one.fault), None)
            if fault is None or any(e.commits for e in rest if e.number < fault.number):
                continue
            pending = _pending(mine, effect)
            if effect.kind == "mail":
                if not pending:
                    continue
                yield Proposal(
                    "told before the commit",
                    "Tell others after the commit, or in it: write the mail to an outbox in the transaction, and let a relay send it.",
                    "the mail was sent while its transaction was open, and a fault came before the commit",
                    "certain", (effect, fault), None, "in which order the code does things cannot be changed in the model",
                )  # fmt: skip
                continue
            provider = case.providers[effect.target]
            advice = (
                "A provider and a database do not commit together. Write down first what is about to be done, with its key, and commit;"
                " then call; then write down what came of it. A retry finds the intent and calls with the same key."
            )
            kind = "call inside a transaction" if pending else "dual write"
            because = (
                f"{effect.text} was done while {len(pending)} statements waited for a commit that never came"
                if pending
                else f"{effect.text} was done, and a fault came before any commit named it"
            )
            can = provider.keys is not None and not effect.key
            why = (
                ""
                if can
                else f"{effect.text} has a key already"
                if effect.key
                else f"the model of {provider.name} has no keys"
            )
            yield Proposal(
                kind,
                advice,
                because,
                "possible",
                (effect, fault),
                varied.keyed(provider) if can else None,
                why,
            )
        crash = next((one for one in mine if one.action == "crash" and one.kind == "mail"), None)
        commits = [one for one in mine if one.commits and one.changed]
        if crash and commits:
            yield Proposal(
                "dual write",
                "Write the mail to an outbox in the transaction that decides it, and let a relay send it.",
                "the commit was done, and the process died before the mail was sent",
                "certain", (commits[-1], crash), varied.delivered(crash.target, crash.text, "mail"),
            )  # fmt: skip


def _pending(events: tuple[Event, ...], effect: Event) -> list[Event]:
    waiting: list[Event] = []
    for one in events:
        if one.number >= effect.number:
            break
        if one.commits:
            waiting = []
        elif one.writes:
            waiting.append(one)
    return waiting


RULES: tuple[Rule, ...] = (_races, _no_constraint, _claims, _no_inbox, _two_commits, _dual_writes)
