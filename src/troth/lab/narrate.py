"""From a path of the graph to the lines that a person reads: who did what, what happened, what was told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from troth.lab.database import Database
from troth.lab.describe import described, redacted, row, short
from troth.lab.effects import Issued, Part
from troth.lab.faults import SAME_TICK
from troth.lab.mailbox import Mailbox
from troth.lab.model import Op, Step
from troth.lab.provider import Provider
from troth.lab.tables import Tables
from troth.lab.verdict import Line
from troth.lab.world import decode

Rows = list[dict[str, Any]]


class Narrator:
    """Tells the steps of one graph."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def lines(self, steps: list[Step]) -> tuple[Line, ...]:
        """The steps worth telling: effects, faults, refusals and answers. What was only read or prepared is left out."""
        told: list[Line] = []
        live: list[int] = []
        attempts = 0
        for step in steps:
            attempts += step.action == "start"
            attempt = (
                attempts if step.action == "start" else live[step.slot] if step.slot >= 0 else 0
            )
            line = self._line(step, beside=bool(live))
            live = [attempts if before < 0 else live[before] for before in step.slots]
            if line is not None:
                again = line.irreversible and any(one.irreversible for one in told)
                told.append(
                    replace(line, attempt=attempt, irreversible=line.irreversible and not again)
                )
        return tuple(told)

    def changes(self, before: int, after: int, *, brief: bool = False) -> list[str]:
        """The difference between two worlds in words. `brief`: of a provider's new objects only the id."""
        found: list[str] = []
        worlds = self._tables.worlds
        for part, old, new in zip(
            self._tables.components, worlds[before], worlds[after], strict=True
        ):
            if old != new and not isinstance(part, Issued):
                found.extend(
                    _difference(part, old, new, brief=brief and isinstance(part, Provider))
                )
        return found

    def _line(self, step: Step, *, beside: bool) -> Line | None:
        if step.action in {"land", "expire"}:
            return self._by_itself(step)
        actor = self._tables.actors[step.actor].call.label
        site = self._tables.nodes[step.history].site
        if step.action == "start" and beside:
            return Line(actor, f"begins beside the other ({step.word})", fault=True)
        if step.action == "start" and step.memory:
            return Line(actor, "served by the same process, which remembers")
        if step.action == "crash":
            call = described(self._tables.ops[step.op])
            when = "when it has just sent" if step.told else "before"
            return Line(actor, f"the process dies, {when}: {call}", site=site, fault=True)
        return self._operation(step, actor, site) if step.action == "op" else None

    def _by_itself(self, step: Step) -> Line:
        if step.action == "expire":
            return Line(
                "time passes", "the provider forgets the oldest idempotency key", fault=True
            )
        change = "; ".join(self.changes(step.before, step.after, brief=True)) or "nothing changes"
        op = self._tables.ops[step.op]
        return Line(
            "late",
            f"now lands: {described(op)}: {change}",
            irreversible=self._irreversible(step, op),
        )

    def _operation(self, step: Step, actor: str, site: str) -> Line | None:
        assert step.outcome is not None
        op = self._tables.ops[step.op]
        if op.kind == "answer":
            return self._answer(step, op, actor, site)
        if step.outcome is SAME_TICK:
            return Line(actor, "in the same moment, by the clock, as before")
        fault = step.outcome.survived and bool(step.word)
        if not (fault or self._refused(step) or self.changes(step.before, step.after)):
            return None
        happened, told = self._happened(step, op), self._told(step, op)
        return Line(actor, happened, told, site, fault, self._irreversible(step, op))

    def _answer(self, step: Step, op: Op, actor: str, site: str) -> Line:
        status, body = op.params  # as `request` writes it
        answer = f"{status} {short(redacted(body.decode(errors='replace')), 50)}".strip()
        if step.told:
            return Line(actor, "answers", f"→ {answer}", site)
        return Line(
            actor, f"answers {answer}; it is lost on its way", "→ nothing", site, fault=True
        )

    def _happened(self, step: Step, op: Op) -> str:
        assert step.outcome is not None
        if step.outcome.late:
            return f"{described(op)}: still under way"
        if not step.outcome.happens:
            return f"{described(op)}: not done"
        change = "; ".join(self.changes(step.before, step.after, brief=True))
        return f"{described(op)}: {change}" if change else described(op)

    def _told(self, step: Step, op: Op) -> str:
        seen: Any = self._tables.observations[step.observation]
        if seen.error:
            return f"{seen.error}: {seen.value[0]}"
        if op.kind == "http":
            return f"{seen.value[0]} {short(redacted(seen.value[2].decode(errors='replace')), 50)}"
        return "ok"

    def _refused(self, step: Step) -> bool:
        """Whether the world itself said no: a constraint, a 4xx."""
        seen: Any = self._tables.observations[step.observation]
        return bool(seen.error) or (
            self._tables.ops[step.op].kind == "http" and 400 <= seen.value[0] < 500
        )

    def _irreversible(self, step: Step, op: Op) -> bool:
        if not self.changes(step.before, step.after):
            return False
        part = self._tables.part(op)
        return isinstance(part, Mailbox) or (isinstance(part, Provider) and part.irreversible(op))


def _difference(part: Part, old: bytes, new: bytes, *, brief: bool) -> Iterator[str]:
    before, after = _collections(part, old), _collections(part, new)
    for name in sorted(before.keys() | after.keys()):
        gone, came = (
            _without(before.get(name, []), after.get(name, [])),
            _without(after.get(name, []), before.get(name, [])),
        )
        sign = "→" if gone and came else "+"
        for one in came:
            yield f"{name} {sign} {one['id'] if brief and 'id' in one and not gone else row(one)}"
        if not came:
            yield from (f"{name} - {row(one)}" for one in gone)


def _without(rows: Rows, others: Rows) -> Rows:
    left = list(others)
    return [one for one in rows if one not in left or left.remove(one)]  # type: ignore[func-returns-value]


def _collections(part: Part, data: bytes) -> dict[str, Rows]:
    """What a part holds, by the names that promises use."""
    plain = decode(data)
    if isinstance(part, Database):
        return {
            f"{part.name}.{name}": [
                dict(zip(columns, values[-len(columns) :], strict=True)) for values in rows
            ]
            for name, (columns, rows) in plain["tables"].items()
            if name != "sqlite_sequence"
        }
    if isinstance(part, Mailbox):
        return {f"{part.name}.messages": plain}
    return {f"{part.name}.{name}": objects for name, objects in plain["objects"].items()}
