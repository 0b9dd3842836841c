"""All screens, in the order of the menu. A new page is a line here, a file in `pages/` and a template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from troth.console.page import Page
from troth.console.pages import (
    account,
    attention,
    audit,
    decisions,
    effects,
    endpoints,
    event,
    health,
    inbox,
    ledger,
    machine,
    machine_object,
    machines,
    message,
    outbox,
    overview,
    providers,
    reconcile,
    request,
    requests,
    run,
    runs,
    schedules,
    workers,
)

SCREENS: Sequence[Page[Any]] = (
    overview.PAGE,
    attention.PAGE,
    effects.LIST,
    effects.PAGE,
    runs.PAGE,
    run.PAGE,
    requests.PAGE,
    request.PAGE,
    inbox.PAGE,
    event.PAGE,
    outbox.PAGE,
    endpoints.PAGE,
    message.PAGE,
    ledger.PAGE,
    account.PAGE,
    machines.PAGE,
    machine.PAGE,
    machine_object.PAGE,
    schedules.PAGE,
    schedules.DETAIL,
    reconcile.PAGE,
    reconcile.DETAIL,
    workers.PAGE,
    providers.PAGE,
    decisions.PAGE,
    decisions.DETAIL,
    audit.PAGE,
    audit.WAITING,
    audit.RULES,
    health.PAGE,
)
