"""Providers: whether they are called, how fast, and how many calls are under way."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import providers as view


@dataclass(frozen=True, slots=True)
class Asked:
    """One provider, or where the page begins."""

    name: str | None
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks."""
    return Asked(visit.asked("name") or None, visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    found = await view.providers(tx, visit.site.schema, name=asked.name, after=asked.after)
    flags = ["--name", asked.name] if asked.name else []
    command = shlex.join(["troth", "provider", "list", *flags])
    return {"found": found, "one": asked.name, "command": command}


PAGE = Page(
    name="providers",
    path="/providers",
    heading="Providers",
    menu="Providers",
    key="p",
    ask=ask,
    read=read,
    topics=lambda _asked: ("traffic",),
)
