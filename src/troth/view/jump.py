"""Paste any id, key or name, and land on the thing: a run, an effect, an event, a message, a request, a decision, …"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from uuid import UUID

from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.paging import SCAN_LIMIT

Screen: TypeAlias = Literal[
    "run",  # id: the run
    "effect",  # within: the run, id: the path
    "workflow",  # id: its name; the runs of it
    "request",  # id: of its record
    "event",  # within: the source, id: of the event
    "outbox_message",
    "endpoint",
    "object",  # within: the machine, id: of the object
    "schedule",
    "provider",
    "worker",
    "decision",
    "principal",  # id: its decisions
]

_MOST = 20
_LONGEST = 1000
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_DIGEST = re.compile(r"(?:[0-9a-f]{2}){16,64}")


@dataclass(frozen=True, slots=True)
class Target:
    """A thing that a text may mean: on which *screen* it is, its *id*, *within* what (of some), and a few words."""

    screen: Screen
    id: str
    label: str
    within: str | None = None


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "jump.sql")


async def jump(tx: Tx, schema: str, text: str) -> tuple[Target, ...]:
    """All that *text* may mean, the surest first; at most 20. Spaces, quotes and brackets around it do not matter."""
    said = text.strip().strip("\"'`<>()[],;").strip()
    if not said or len(said) > _LONGEST or "\x00" in said:
        return ()
    q = queries(schema)
    found: list[Target] = []
    begins = _UUID.match(said)
    if begins:
        run = UUID(begins[0])
        found += await _found(tx, q.by_id, {"id": run, "limit": _MOST})
        rest = said[begins.end() :]
        if rest.startswith("/") and any(each.screen == "run" for each in found):
            # An effect's idempotency key: its run and its path, and which request after a refusal it is.
            path = re.sub(r"~\d+$", "", rest[1:])
            return (Target("effect", path, "an effect", str(run)), *found)
    params = {"text": said, "limit": _MOST, "scan": SCAN_LIMIT}
    if _DIGEST.fullmatch(said):
        found += await _found(tx, q.by_digest, params)
    for statement in (q.by_text, q.events, q.objects):
        found += await _found(tx, statement, params)
    return tuple(dict.fromkeys(found))[:_MOST]


async def _found(tx: Tx, statement: Any, params: dict[str, Any]) -> list[Target]:
    rows = await (await tx.execute(statement, params)).fetchall()
    return [Target(*row) for row in rows]
