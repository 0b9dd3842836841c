"""Audit: who did what, what waits for a second person, and how many people which act needs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.base import codec
from troth.command.acts import ACTS, Role
from troth.command.rules import same_person
from troth.command.spelling import as_command
from troth.console.agreeing import form_of
from troth.console.deed import Given
from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import acts as view
from troth.view.acts import ActFilter, ActLine, ProposalLine


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: ActFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(ActFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    found = await view.acts(tx, visit.site.schema, asked.which, after=asked.after)
    return {
        "found": found,
        "said": {each.id: said(each) for each in found.rows},
        "nouns": sorted({name.partition(".")[0] for name in ACTS} | set(ACTS)),
        "command": shlex.join(["troth", "audit", "list", *asked.which.to_flags()]),
    }


def said(line: ActLine) -> tuple[tuple[str, str], ...]:
    """What is recorded of an act besides its object, and what came of it: names and texts, digit for digit."""
    told = {**line.details, **(line.result or {})}
    return tuple((name, _text(each)) for name, each in told.items() if each not in (None, False))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else codec.encode(value).decode()


# What waits -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """A proposal as it is shown. *form*: leads to the act, for a second person; *mine*: it is that of who looks."""

    line: ProposalLine
    said: tuple[tuple[str, str], ...]
    form: Given | None
    command: str
    mine: bool
    may_withdraw: bool


async def read_waiting(tx: Tx, visit: Visit, asked: str | None) -> Mapping[str, Any]:
    """What the template shows."""
    found = await view.waiting(tx, visit.site.schema, after=asked)
    return {"found": found, "waiting": [_waiting(visit, each) for each in found.rows]}


def _waiting(visit: Visit, line: ProposalLine) -> Waiting:
    mine = same_person(line.by, visit.known.name)
    told = tuple((name, _text(each)) for name, each in line.details.items() if each is not None)
    command = "" if line.untold else as_command(line.act, line.about, line.details)
    return Waiting(line, told, form_of(line), command, mine, mine or visit.may(Role.ADMIN))


async def read_rules(tx: Tx, visit: Visit, _asked: None) -> Mapping[str, Any]:
    """What the template shows."""
    return {"rules": await view.rules(tx, visit.site.schema)}


PAGE = Page(
    name="audit",
    path="/audit",
    heading="Audit",
    menu="Audit",
    key="u",
    ask=ask,
    read=read,
    topics=lambda _asked: ("acts",),
    narrow="say who, or about what",
)
WAITING = Page(
    name="waiting",
    path="/audit/waiting",
    heading="Waiting for a second person",
    within="audit",
    ask=lambda visit: visit.asked("after") or None,
    read=read_waiting,
    topics=lambda _asked: ("acts",),
)
RULES = Page(
    name="rules",
    path="/audit/rules",
    heading="Who may do what",
    within="audit",
    ask=lambda _visit: None,
    read=read_rules,
    topics=lambda _asked: ("acts",),
)
