"""`troth config`: every setting, its value here, and who says so."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import App, Parameter

from troth.base import settings
from troth.base.errors import UsageError
from troth.cli.failure import PROBLEM
from troth.cli.output import cell, show

app = App(name="config")

_ELSEWHERE = {"PG*": "PG* variables of libpq", "embedded": "an embedded server"}


@app.default
def config(
    *,
    json: Annotated[bool, Parameter(negative="", help="For programs.")] = False,
) -> int:
    """List every setting: its value in this environment, where that comes from, its unit and what it means.

    What a program says in its code wins over what is shown here. Passwords are hidden. The exit code is 1 if a value
    cannot be, or a variable TROTH_… is no setting.

    Example: troth config
    """
    records = []
    problems = []
    for name, about in settings.TABLE.items():
        text = os.environ.get(settings.variable(name))
        try:
            found = settings.value(name, text) if text else getattr(settings.DEFAULTS, name)
        except UsageError as error:
            problems.append(str(error))
            found = text
        records.append(
            {
                "name": name,
                "value": _written(found),
                "from": settings.variable(name) if text else _without(name),
                "unit": about.unit or None,
                "meaning": about.meaning,
            }
        )
    problems += [settings.complaint(*each) for each in settings.unknown().items()]
    show(records, "json" if json else "table", "")
    for problem in problems:
        print(f"troth: {cell(problem)}", file=sys.stderr)
    return PROBLEM if problems else 0


def _written(found: object) -> object:
    return found if found is None or isinstance(found, int | float) else settings.shown(found)


def _without(name: str) -> str:
    """Where the value of a setting comes from that has no variable."""
    if name != "database_url":
        return "default"
    from troth.store.connect import origin

    return _ELSEWHERE[origin(None)]
