"""Health: the server, the schema and its tables, how far back history goes, what is slow; on demand what troth doctor finds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import doctor, installation
from troth.view import health as view
from troth.view.doctor import Finding
from troth.view.health import TableLine

_TABLES = 12  # the largest
# What a statement holds of somebody's data: texts, also one that was cut off, and numbers; not parameters ($1).
_VALUES = re.compile(
    r"(?P<tag>\$[A-Za-z_]*\$).*?(?:(?P=tag)|\Z)|'(?:[^']|'')*(?:'|\Z)|(?<![\w$.])\d[\w.]*",
    re.DOTALL,
)


def ask(visit: Visit) -> bool:
    """Is the installation to be examined, too? Raises `UsageError`."""
    said = visit.asked("doctor")
    if said not in {"", "true"}:
        raise UsageError(f"doctor is {said!r}: it must be true")
    return bool(said)


async def read(tx: Tx, visit: Visit, asked: bool) -> Mapping[str, Any]:
    """What the template shows."""
    site = visit.site
    found = await view.health(tx, site.schema)
    told: dict[str, Any] = {
        "health": found,
        "size": sum(each.size for each in found.tables),
        "tables": found.tables[:_TABLES],
        "more_tables": max(0, len(found.tables) - _TABLES),
        "bloated": bloated,
        "sessions": [(each, without_values(each.statement or "")) for each in found.sessions],
        "statements": [(each, without_values(each.statement)) for each in found.statements or ()],
        "problem": found.migrations.problem(),
        "rules": len(doctor.RULES),
        "findings": None,
    }
    if asked:
        reach = site.reach
        facts = await installation.facts(reach.url, site.schema, limit_s=reach.limit_s)
        told["findings"] = by_rule(doctor.examine(facts))
    return told


def by_rule(findings: Sequence[Finding]) -> list[tuple[Finding, list[str]]]:
    """The first finding of each rule, with all that the rule has found."""
    found: dict[str, tuple[Finding, list[str]]] = {}
    for each in findings:
        found.setdefault(each.code, (each, []))[1].append(each.found)
    return list(found.values())


def bloated(line: TableLine) -> bool:
    """Has a table as many dead rows as the doctor minds?"""
    return line.dead > doctor.DEAD_ROWS and line.dead_share > doctor.DEAD_SHARE


def without_values(statement: str) -> str:
    """A statement without the values that are written into it: they may be confidential."""
    return _VALUES.sub("…", statement)


PAGE = Page(
    name="health",
    path="/health",
    heading="Health",
    menu="Health",
    key="h",
    ask=ask,
    read=read,
    narrow="come back when the database has less to do",
)
