"""What is open in PostgreSQL after an operation, as operations that can be done again: pure functions.

A statement of a transaction that is not committed is `held`, with what it observed and where the sequences were. A held operation
without text only begins a transaction. Settings and locks of the session stay when the transaction ends.
"""

from __future__ import annotations

from typing import Any

from troth.lab.libpq import Statement
from troth.lab.model import Observation, Op
from troth.lab.postgres_rules import (
    ends_session_state,
    is_plain_read,
    skips_locked,
    takes_savepoint,
)
from troth.lab.world import encode


def remaining(
    opened: tuple[Op, ...],
    op: Op,
    seen: Observation,
    sequences: dict[str, Any],
) -> tuple[Op, ...]:
    """What is open after an operation, so that it can be repeated."""
    if op.kind in {"connect", "clock"}:
        return opened
    if op.kind == "close":
        return tuple(one for one in opened if one.handle != op.handle)
    mine = [one for one in opened if one.kind == "held" and one.handle == op.handle]
    rest = tuple(one for one in opened if one not in mine)
    status = seen.value[0]
    lasting = ends_session_state(op.text) if op.kind == "sql" else False
    if status == "I":
        kept = [one for one in mine if one.params[0].get("session")]
        if (
            op.kind == "rollback"
        ):  # a setting goes with its transaction, a lock of the session does not
            kept = [one for one in kept if "advisory" in one.text]
        if lasting:
            kept.append(held(op, seen, {}, session=True))
        return (*rest, *kept)
    if status == "E" and not any(takes_savepoint(one.text) for one in mine):
        return aborted(opened, op)
    begin = op.params[-1] if op.kind == "sql" else ""
    snapshot = any(one.params[0].get("snapshot") for one in mine) or "ISOLATION" in begin
    if begin:
        mine.append(Op("held", op.target, "", ({"begin": begin},), op.handle))
    if snapshot or not _leaves_nothing(op, seen):
        marks = {"snapshot": snapshot, "session": lasting}
        mine.append(held(op, seen, sequences, **{mark: True for mark in marks if marks[mark]}))
    return (*rest, *mine)


def _leaves_nothing(op: Op, seen: Observation) -> bool:
    """Whether it makes no difference to the others that the statement was executed."""
    if is_plain_read(op.text):
        return True
    found = seen.value[4] if op.kind == "sql" and not seen.error else None
    return found is not None and not found and skips_locked(op.text)


def held(op: Op, seen: Observation, sequences: dict[str, Any], **marks: bool) -> Op:
    """A statement that can be done again, and must then be seen to do the same."""
    params = (*op.params[:-1], "") if op.kind == "sql" else ()
    what = {
        "kind": op.kind,
        "params": params,
        "sequences": sequences,
        "seen": [seen.value, seen.error],
    }
    return Op("held", op.target, op.text or op.kind.upper(), (what | marks,), op.handle)


def aborted(opened: tuple[Op, ...], op: Op) -> tuple[Op, ...]:
    """A transaction that failed: it has no effects and no locks any more, and must be rolled back."""
    mine = [one for one in opened if one.kind == "held" and one.handle == op.handle]
    rest = tuple(one for one in opened if one not in mine)
    kept = [one for one in mine if one.params[0].get("session")]
    in_one = len(kept) < len(mine) or (op.kind == "sql" and op.params[-1])
    if not in_one:
        return (*rest, *kept)
    failed = Op("held", op.target, "", ({"begin": "BEGIN", "failed": True},), op.handle)
    return (*rest, *kept, failed)


def statement_of(text: str, params: Any) -> Statement:
    """As the edges write it: values, types, formats, binary, whether in a transaction, how that begins."""
    if not params:
        return Statement(text)
    values, types, formats, binary, _, begin = params
    return Statement(text, values, tuple(types), tuple(formats), binary=binary, begin=begin)


def encoded(groups: tuple[tuple[Op, ...], ...]) -> bytes:
    """What is open, as a key."""
    return encode([[[op.kind, op.text, op.params, op.handle] for op in group] for group in groups])
