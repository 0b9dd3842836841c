"""Workers: who is there, whether they beat, what they can execute; what nobody can; who was found dead."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import workers as view
from troth.view.workers import VersionLine, WorkerFilter


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: WorkerFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(WorkerFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    found = await view.workers(tx, visit.site.schema, asked.which, after=asked.after)
    return {
        "found": found,
        "stranded": stranded(found.versions),
        "which": asked.which,
        "command": shlex.join(["troth", "worker", "list", *asked.which.to_flags()]),
    }


def stranded(versions: tuple[VersionLine, ...]) -> tuple[VersionLine, ...]:
    """What nobody can execute, although runs of it wait for that."""
    return tuple(each for each in versions if not each.workers)


PAGE = Page(
    name="workers",
    path="/workers",
    heading="Workers",
    menu="Workers",
    key="w",
    ask=ask,
    read=read,
    topics=lambda _asked: ("workers",),
)
