"""A history as plain events, for rules that look for evidence in it. Nothing here knows how it was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from troth.lab.faults import is_deferred, is_query, writes
from troth.lab.model import Op, Step
from troth.lab.narrate import Rows, attempts, collections, result_rows
from troth.lab.provider import Provider

if TYPE_CHECKING:
    from troth.lab.tables import Tables

_TABLES = re.compile(r"\b(?:from|join|update|into)\s+[\"`]?([a-z_][\w.]*)[\"`]?", re.IGNORECASE)
_LOCKS = re.compile(r"\bfor\s+(no\s+key\s+)?(update|share)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Event:
    """A step of a history.

    `number` is its position in the path. `told`: "ok", the name of an error, or the status of an answer that arrived; "" for nothing.
    `grew`: collections that have more in them afterwards, `changed`: all that differ.
    """

    number: int
    attempt: int
    actor: int
    action: str
    site: str
    kind: str = ""
    target: str = ""
    text: str = ""
    op: Op | None = None
    fault: str = ""
    done: bool = False
    told: str = ""
    key: str = ""
    body: bytes = b""
    is_effect: bool = False
    """A call to a provider, or a mail, that changes something there."""
    is_lookup: bool = False
    """A call to a provider that only looks."""
    reads: frozenset[str] = frozenset()
    """The tables that a query reads."""
    found: int = -1
    """How many rows it found."""
    locks: bool = False
    writes: frozenset[str] = frozenset()
    """The tables that a statement changes, once it is committed."""
    commits: bool = False
    pending: tuple[str, ...] = ()
    """What a commit makes durable: the statements, in order."""
    changed: frozenset[str] = frozenset()
    grew: frozenset[str] = frozenset()
    memory: int = 0

    @property
    def unknown(self) -> bool:
        """The one who asked does not know whether it was done."""
        return bool(self.fault) and self.is_effect and self.told not in {"", "ok"}


def events(tables: Tables, steps: Sequence[Step]) -> tuple[Event, ...]:
    """The events of a path."""
    made: list[Event] = []
    pending: dict[tuple[int, int], list[str]] = {}
    for number, (step, attempt) in enumerate(zip(steps, attempts(steps), strict=True)):
        made.append(_event(tables, number, attempt, step, pending))
    return tuple(made)


def _event(
    tables: Tables, number: int, attempt: int, step: Step, pending: dict[tuple[int, int], list[str]]
) -> Event:
    site = tables.nodes[step.history].site if step.history >= 0 else ""
    op = tables.ops[step.op] if step.op >= 0 else None
    plain: dict[str, Any] = {
        "memory": step.memory,
        "op": op,
        "fault": step.word if step.cost else "",
    }
    if op is not None:
        plain |= {"kind": op.kind, "target": op.target, "text": op.text}
        plain |= _asked(tables, op)
    if step.action == "op" and op is not None and step.outcome is not None:
        plain["done"] = step.outcome.happens
        plain["told"] = _told(tables, step, op)
        plain |= _transaction(
            op, pending.setdefault((attempt, op.handle), []), done=step.outcome.happens
        )
        if plain.get("reads"):
            rows = result_rows(tables.observations[step.observation])
            plain["found"] = -1 if rows is None else len(rows)
    if step.action in {"op", "land"}:
        plain |= _difference(tables, step)
    return Event(number, attempt, step.actor, step.action, site, **plain)


def _asked(tables: Tables, op: Op) -> dict[str, Any]:
    part = tables.part(op)
    if op.kind == "http" and isinstance(part, Provider):
        _, headers, body = op.params  # as `edge.http` writes it
        header = part.keys.header.lower() if part.keys else "idempotency-key"
        reads_only = part.reads_only(op)
        return {
            "key": dict(headers).get(header, ""),
            "body": body,
            "is_effect": not reads_only,
            "is_lookup": reads_only,
        }
    if op.kind == "mail":
        return {"is_effect": True}
    if op.kind == "sql":
        named = frozenset(name.lower() for name in _TABLES.findall(op.text))
        if is_query(op.text):
            return {"reads": named, "locks": bool(_LOCKS.search(op.text))}
        return {"writes": named} if writes(op) else {}
    return {}


def _told(tables: Tables, step: Step, op: Op) -> str:
    if op.kind == "answer":
        return str(tables.answers[step.told - 1].status) if step.told else ""
    seen: Any = tables.observations[step.observation]
    if seen.error:
        return str(seen.error)
    if op.kind == "http" and seen.value[0] >= 400:
        return str(seen.value[0])
    return "ok"


def _transaction(op: Op, statements: list[str], *, done: bool) -> dict[str, Any]:
    """What is pending in a transaction, and made durable by a commit."""
    if op.kind == "sql" and writes(op):
        statements.append(op.text)
    commits = op.kind == "commit" or (
        op.kind == "sql" and op.text.strip().rstrip(";").lower() in {"commit", "end"}
    )
    if op.kind in {"rollback", "close"} or (op.kind == "sql" and is_rollback(op.text)):
        statements.clear()
    if not (commits and done):
        return {}
    made = tuple(statements)
    statements.clear()
    return {"commits": True, "pending": made}


def is_rollback(text: str) -> bool:
    """Whether a statement undoes its transaction."""
    return is_deferred(text) and text.strip().lower().startswith("rollback")


def _difference(tables: Tables, step: Step) -> dict[str, Any]:
    changed, grew = set(), set()
    for part, old, new in zip(
        tables.components, tables.worlds[step.before], tables.worlds[step.after], strict=True
    ):
        if old != new:
            before, after = collections(part, old), collections(part, new)
            for name in before.keys() | after.keys():
                was: Rows = before.get(name, [])
                now: Rows = after.get(name, [])
                if was != now:
                    changed.add(name)
                    if len(now) > len(was):
                        grew.add(name)
    return {"changed": frozenset(changed), "grew": frozenset(grew)}


def writes_of(opened: tuple[Op, ...]) -> tuple[str, ...]:
    """The statements of open operations that a commit would make durable."""
    return tuple(one.text for one in map(_statement, opened) if one.kind == "sql" and writes(one))


def _statement(one: Op) -> Op:
    """What is open in SQLite is the operation itself; in PostgreSQL it is held with what it observed."""
    is_held = one.kind == "held" and bool(one.text) and one.params[0].get("kind") == "sql"
    return Op("sql", one.target, one.text) if is_held else one
