"""All screens, in the order of the menu. A new page is a line here, a file in `pages/` and a template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from troth.console.page import Page
from troth.console.pages import (
    audit,
    decisions,
    health,
    providers,
    run,
    runs,
    schedules,
    workers,
)

SCREENS: Sequence[Page[Any]] = (
    runs.PAGE,
    run.PAGE,
    schedules.PAGE,
    schedules.DETAIL,
    workers.PAGE,
    providers.PAGE,
    decisions.PAGE,
    decisions.DETAIL,
    audit.PAGE,
    audit.WAITING,
    audit.RULES,
    health.PAGE,
)
