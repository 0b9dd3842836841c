"""From a path of the graph to the lines that a person reads: who did what, what happened, what was told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from troth.lab.database import Database
from troth.lab.describe import Hidden, call, content, described, parameters, row, said, short
from troth.lab.faults import SAME_TICK, is_query
from troth.lab.mailbox import Mailbox
from troth.lab.model import Observation, Op, Step
from troth.lab.parts import Issued, Part
from troth.lab.provider import Provider
from troth.lab.redis import Redis
from troth.lab.tables import Tables
from troth.lab.verdict import Line
from troth.lab.world import decode

Rows = list[dict[str, Any]]


_DIES = (
    "before",
    "when it has just sent",
    "alone in its pool, which takes the task for done, before",
)


class Narrator:
    """Tells the steps of one graph.

    Args:
        tables: what the numbers in the steps stand for.
        hidden: names of fields whose values are not shown.
    """

    def __init__(self, tables: Tables, hidden: Hidden = frozenset()) -> None:
        self._tables = tables
        self._hidden = hidden

    def lines(
        self,
        steps: Sequence[Step],
        also: frozenset[int] = frozenset(),
        whose: Sequence[int] | None = None,
    ) -> tuple[Line, ...]:
        """The steps worth telling: effects, faults, refusals and answers. What was only read or prepared is left out, but for `also`.

        `whose` are the attempts of the steps, if the history does not begin here.
        """
        told: list[Line] = []
        live = 0
        for number, (step, attempt) in enumerate(zip(steps, whose or attempts(steps), strict=True)):
            line = self._line(step, beside=bool(live), anyway=number in also)
            live = len(step.slots)
            if line is not None:
                again = line.irreversible and any(one.irreversible for one in told)
                told.append(
                    replace(
                        line,
                        step=number,
                        attempt=attempt,
                        irreversible=line.irreversible and not again,
                    )
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
                short_form = brief and isinstance(part, Provider)
                found.extend(_difference(part, old, new, brief=short_form, hidden=self._hidden))
        return found

    def _line(self, step: Step, *, beside: bool, anyway: bool) -> Line | None:
        if step.action in {"land", "expire"}:
            return self._by_itself(step)
        actor = self._tables.actors[step.actor].call.label
        site = self._tables.nodes[step.history].site
        if step.action == "start" and beside:
            return Line(actor, f"begins beside the other ({step.word})", fault=True, word=step.word)
        if step.action == "start" and step.memory:
            return Line(actor, "served by the same process, which remembers")
        if step.action == "crash":
            asked = described(self._tables.ops[step.op], self._hidden)
            when = _DIES[step.told]
            return Line(
                actor, f"the process dies, {when}: {asked}", site=site, fault=True, word=step.word
            )
        return self._operation(step, actor, site, anyway=anyway) if step.action == "op" else None

    def _by_itself(self, step: Step) -> Line:
        if step.action == "expire" and step.told:
            changes = tuple(self.changes(step.before, step.after, brief=True))
            happened = f"a key runs out: {'; '.join(changes)}"
            return Line(
                "time passes", happened, fault=bool(step.cost), word=step.word, changes=changes
            )
        if step.action == "expire":
            return Line(
                "time passes",
                "the provider forgets the oldest idempotency key",
                fault=True,
                word=step.word,
            )
        changes = tuple(self.changes(step.before, step.after, brief=True))
        op = self._tables.ops[step.op]
        return Line(
            "late",
            f"now lands: {described(op, self._hidden)}: {'; '.join(changes) or 'nothing changes'}",
            irreversible=self._irreversible(step, op),
            op=f"now lands: {call(op, self._hidden)}",
            params=parameters(op, self._hidden),
            changes=changes,
        )

    def _operation(self, step: Step, actor: str, site: str, *, anyway: bool) -> Line | None:
        assert step.outcome is not None
        op = self._tables.ops[step.op]
        if op.kind == "answer":
            return self._answer(step, op, actor, site)
        if op.kind == "order":
            first = self._tables.observations[step.observation].value
            told = f"its threads get through in the {step.outcome.name}"
            return Line(actor, told, site=site) if list(first) != sorted(first) else None
        if step.outcome is SAME_TICK:
            return Line(actor, "in the same moment, by the clock, as before")
        if op.kind == "receive":
            return self._receipt(step, actor)
        fault = (step.outcome.survived or op.kind == "ack") and bool(step.word)
        changes = tuple(self.changes(step.before, step.after, brief=True))
        if not (fault or self._refused(step) or changes or anyway):
            return None
        return Line(
            actor,
            self._happened(step, op, changes),
            self._told(step, op),
            site,
            fault,
            self._irreversible(step, op),
            op=call(op, self._hidden),
            params=parameters(op, self._hidden),
            changes=changes or self._why_not(step),
            word=step.word if fault else "",
        )

    def _receipt(self, step: Step, actor: str) -> Line | None:
        """What a delivery begins with."""
        assert step.outcome is not None
        seen = self._tables.observations[step.observation]
        if seen.value is None and not step.word:
            return None
        what = "" if seen.value is None else f": {said(seen.value, self._hidden)}"
        happened = f"{step.outcome.name}{what}"
        return Line(actor, happened, fault=bool(step.word), op=happened, word=step.word)

    def _answer(self, step: Step, op: Op, actor: str, site: str) -> Line:
        status, body = op.params  # as `request` writes it
        answer = f"{status} {short(content(body, self._hidden), 50)}".strip()
        if step.told:
            return Line(actor, "answers", f"→ {answer}", site, op="answers")
        return Line(
            actor,
            f"answers {answer}; it is lost on its way",
            "→ nothing",
            site,
            fault=True,
            op=f"answers {answer}",
            changes=("it is lost on its way",),
            word=step.word,
        )

    def _happened(self, step: Step, op: Op, changes: tuple[str, ...]) -> str:
        told = (*(changes or self._why_not(step)),)
        asked = described(op, self._hidden)
        return f"{asked}: {'; '.join(told)}" if told else asked

    def _why_not(self, step: Step) -> tuple[str, ...]:
        assert step.outcome is not None
        if step.outcome.late:
            return ("still under way",)
        return () if step.outcome.happens else ("not done",)

    def _told(self, step: Step, op: Op) -> str:
        seen: Any = self._tables.observations[step.observation]
        if seen.error:
            return f"{seen.error}: {complaint(seen)}"
        if op.kind == "http":
            return f"{seen.value[0]} {short(content(seen.value[2], self._hidden), 50)}"
        if op.kind == "sql" and is_query(op.text):
            rows = result_rows(seen)
            return "ok" if rows is None else _counted(rows)
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


def attempts(steps: Sequence[Step]) -> list[int]:
    """Which attempt each step belongs to, counted from 1; 0 for what happens by itself."""
    found: list[int] = []
    live: list[int] = []
    begun = 0
    for step in steps:
        begun += step.action == "start"
        found.append(begun if step.action == "start" else live[step.slot] if step.slot >= 0 else 0)
        live = [begun if before < 0 else live[before] for before in step.slots]
    return found


def result_rows(seen: Observation) -> Sequence[object] | None:
    """The rows that a statement returned, as the boundary of its library writes them; None if it returned none."""
    value = seen.value
    if seen.error or not isinstance(value, tuple | list) or len(value) < 5:
        return None
    if isinstance(
        value[1], str
    ):  # of PostgreSQL: status, tag, whether there are rows, columns, rows
        return value[4] if value[2] else None
    return value[1] if value[0] else None  # of SQLite: columns, rows, …


def complaint(seen: Observation) -> str:
    """What the code was told of an error, in words."""
    value = seen.value
    if isinstance(value[-1], tuple | list):  # of PostgreSQL: status, fields by their codes
        return next(
            (bytes(text).decode() for code, text in value[-1] if code == _MESSAGE), seen.error
        )
    return str(value[1] if seen.error == "lost" and len(value) > 1 else value[0])


_MESSAGE = 77  # "M", PG_DIAG_MESSAGE_PRIMARY


def _counted(rows: Sequence[object]) -> str:
    return "no row" if not rows else "1 row" if len(rows) == 1 else f"{len(rows)} rows"


def _difference(
    part: Part, old: bytes, new: bytes, *, brief: bool, hidden: Hidden
) -> Iterator[str]:
    before, after = collections(part, old), collections(part, new)
    for name in sorted(before.keys() | after.keys()):
        gone, came = (
            _without(before.get(name, []), after.get(name, [])),
            _without(after.get(name, []), before.get(name, [])),
        )
        sign = "→" if gone and came else "+"
        for one in came:
            yield f"{name} {sign} {one['id'] if brief and 'id' in one and not gone else row(one, hidden)}"
        if not came:
            yield from (f"{name} - {row(one, hidden)}" for one in gone)


def _without(rows: Rows, others: Rows) -> Rows:
    left = list(others)
    return [one for one in rows if one not in left or left.remove(one)]  # type: ignore[func-returns-value]


def collections(part: Part, data: bytes) -> dict[str, Rows]:
    """What a part holds, by the names that promises use."""
    plain = decode(data)
    if isinstance(part, Database):
        return {
            f"{part.name}.{name}": [
                dict(zip(columns, values[-len(columns) :], strict=True)) for values in rows
            ]
            for name, (columns, rows) in part.meant(plain["tables"]).items()
            if name != "sqlite_sequence"
        }
    if isinstance(part, Mailbox):
        return {f"{part.name}.messages": plain}
    if isinstance(part, Redis):
        return {part.name: [{name: value} for name, value in part.view(data).items()]}
    if isinstance(part, Issued):
        return {}
    return {f"{part.name}.{name}": objects for name, objects in plain["objects"].items()}
