"""The same code in the same world under a changed rule: how a remedy is put into the model.

The local histories and the worlds are shared with the search that found the violation, so that little has to be executed anew. What an
operation does is asked again, under the rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from troth.lab.alike import Alike
from troth.lab.effects import Effect
from troth.lab.model import Attempt, Branch, Op, State, Step
from troth.lab.program import Judging
from troth.lab.provider import Provider
from troth.lab.steps import Edge, Limits, Moves
from troth.lab.study.trace import writes_of
from troth.lab.tables import Tables

Rewrite = Callable[[Op], Op]
Admits = Callable[[Op, Branch, bool], bool]
"""Whether there is an outcome: of which operation, which, and whether the operation would change anything."""
Forbids = Callable[["Varied", State, Step], bool]


@dataclass(frozen=True)
class Change:
    """A remedy as changes of the model.

    `rewrites`: what is asked instead of an operation. `admits`: which outcomes there still are. `defers`: commits that are left to the next
    one, by the statements that they would make durable. `forbids`: what cannot happen any more. `limits`: of the search.
    `unique`: (database, table, columns) of a constraint that is there from the beginning.
    """

    says: str
    rewrites: tuple[Rewrite, ...] = ()
    admits: tuple[Admits, ...] = ()
    defers: tuple[tuple[str, ...], ...] = ()
    forbids: tuple[Forbids, ...] = ()
    limits: dict[str, Any] = field(default_factory=dict)
    unique: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def and_(self, other: Change) -> Change:
        """Both at once."""
        return replace(
            self,
            rewrites=self.rewrites + other.rewrites,
            admits=self.admits + other.admits,
            defers=self.defers + other.defers,
            forbids=self.forbids + other.forbids,
            limits=self.limits | other.limits,
            unique=self.unique + other.unique,
        )


class Varied(Tables):
    """Tables whose operations follow a change."""

    def __init__(self, tables: Tables, change: Change) -> None:
        self.__dict__.update(tables.__dict__)
        self._change = change
        self._effects = {}
        self._branches = {}
        self._expiries = {}
        self._alike = Alike(self)
        self.runs = 0

    def branches(
        self, world: int, opened: int, others: tuple[int, ...], op: int
    ) -> tuple[Branch, ...]:
        found = super().branches(world, opened, others, op)
        if not self._change.admits:
            return found
        asked = self.ops[op]
        matters = any(one.outcome.happens and one.world != world for one in found)
        return tuple(
            one
            for one in found
            if all(admits(asked, one, matters) for admits in self._change.admits)
        )

    def _perform(self, world: int, opened: int, others: tuple[int, ...], op: Op) -> Effect:
        for rewrite in self._change.rewrites:
            op = rewrite(op)
        done = super()._perform(world, opened, others, op)
        if op.kind == "commit" and self._change.defers:
            mine = tuple(one for one in self.opened[opened] if one.handle == op.handle)
            if writes_of(mine) in self._change.defers:
                return Effect(world, opened, done.observation, done.blockers)
        return done


class Narrowed(Moves):
    """Moves without those that a change forbids."""

    def __init__(self, tables: Varied, judge: Judging, limits: Limits, change: Change) -> None:
        super().__init__(tables, judge, limits)
        self._tables = tables
        self._change = change

    def of(self, state: State) -> Iterator[Edge]:
        for edge in super().of(state):
            if not any(forbids(self._tables, state, edge[0]) for forbids in self._change.forbids):
                yield edge


# ── the changes ─────────────────────────────────────────────────────────────────────────────────


def keyed(provider: Provider) -> Change:
    """Every effect at a provider has a key that is the same for the same request."""
    header = provider.keys.header.lower() if provider.keys else "idempotency-key"

    def rewrite(op: Op) -> Op:
        if op.kind != "http" or op.target != provider.name or provider.reads_only(op):
            return op
        query, headers, body = op.params
        stable = hashlib.sha256(f"{op.text} {query} {body!r}".encode()).hexdigest()[:16]
        others = tuple(pair for pair in headers if pair[0] != header)
        return Op(
            op.kind, op.target, op.text, (query, (*others, (header, stable)), body), op.handle
        )

    return Change(
        f"with a stable key for every call that changes something at {provider.name}", (rewrite,)
    )


def looked_up(target: str, text: str) -> Change:
    """Whoever does not know whether this call was done finds out before going on."""

    def admits(op: Op, branch: Branch, matters: bool) -> bool:
        mine = op.kind in {"http", "mail"} and (op.target, op.text) == (target, text)
        done = branch.outcome.happens or not matters  # or it was done by an earlier one
        ambiguous = branch.outcome.told == "error" and (done or branch.outcome.late)
        return not (mine and ambiguous)

    return Change(
        "as if every unknown outcome of this call were looked up before going on", admits=(admits,)
    )


def passed_on(target: str, text: str) -> Change:
    """An error of this call ends the attempt: it is not survived."""

    def admits(op: Op, branch: Branch, matters: bool) -> bool:
        del matters
        return not ((op.target, op.text) == (target, text) and branch.outcome.survived)

    return Change("as if an error of this call ended the attempt", admits=(admits,))


def as_one(first: tuple[str, ...]) -> Change:
    """What this commit makes durable waits for the next commit."""
    return Change("as one transaction", defers=(first,))


def one_by_one() -> Change:
    """Attempts do not overlap, as if each held a lock from its beginning to its end."""
    return Change(
        "as if each attempt held a lock from its first read to its end", limits={"overlap": 1}
    )


def row_locks(tables: frozenset[str]) -> Change:
    """Reads of these tables take the rows' locks, as FOR UPDATE does (PostgreSQL)."""

    def rewrite(op: Op) -> Op:
        asked = op.text.lower()
        reads = op.kind == "sql" and asked.lstrip().startswith("select") and " for " not in asked
        if not (reads and any(f"from {name}" in " ".join(asked.split()) for name in tables)):
            return op
        return Op(
            op.kind, op.target, op.text.rstrip().rstrip(";") + " FOR UPDATE", op.params, op.handle
        )

    return Change(f"with SELECT … FOR UPDATE on {', '.join(sorted(tables))}", (rewrite,))


def constrained(database: str, table: str, columns: tuple[str, ...]) -> Change:
    """There is a unique constraint."""
    return Change(
        f"with UNIQUE ({', '.join(columns)}) on {table}", unique=((database, table, columns),)
    )


def lasting_keys() -> Change:
    """No key expires as long as somebody asks again."""
    return Change("with keys that live as long as somebody asks again", limits={"expiry": False})


def fresh_processes() -> Change:
    """Nothing is remembered from one attempt to the next."""

    def forbids(tables: Varied, state: State, step: Step) -> bool:
        del tables, state
        return step.action == "start" and step.memory != 0

    return Change("without what the process remembers", forbids=(forbids,))


def answered_last() -> Change:
    """Nothing fails after the answer: as if it were the last step."""

    def forbids(tables: Varied, state: State, step: Step) -> bool:
        del tables
        return bool(step.cost) and step.slot >= 0 and _answered(state, step)

    return Change("as if the answer came after everything else", forbids=(forbids,))


def _answered(state: State, step: Step) -> bool:
    attempt: Attempt | None = state.attempts[step.slot] if step.slot < len(state.attempts) else None
    return attempt is not None and attempt.told != 0


def delivered(target: str, text: str, kind: str) -> Change:
    """Once it has been decided to make this call, it is made, as an outbox does that the transaction writes to."""

    def admits(op: Op, branch: Branch, matters: bool) -> bool:
        del matters
        mine = (op.kind, op.target) == (kind, target) and (kind == "mail" or op.text == text)
        return not (mine and not branch.outcome.happens and not branch.outcome.late)

    def forbids(tables: Varied, state: State, step: Step) -> bool:
        del state
        if step.action != "crash":
            return False
        op = tables.ops[step.op]
        return (op.kind, op.target) == (kind, target) and (kind == "mail" or op.text == text)

    return Change(
        "as if the transaction before wrote it to an outbox", admits=(admits,), forbids=(forbids,)
    )
