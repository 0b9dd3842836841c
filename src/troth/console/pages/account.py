"""One account: what is on it, and its statement, the latest entry first."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.pages.ledger import above
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import ledger as view
from troth.view.paging import PAGE_ROWS
from troth.view.paging import Page as Rows


@dataclass(frozen=True, slots=True)
class Asked:
    """An account, and before which version the page of its entries begins."""

    code: str
    before: int | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    code, after = visit.asked("code"), visit.asked("after")
    if not code:
        raise UsageError("an account has a code: /ledger/account?code=…")
    if after and not after.isdecimal():
        raise UsageError(
            f"{after!r} is not where a page of this list ended: begin with the first page"
        )
    return Asked(code, int(after) if after else None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows. Raises `UsageError` for an account that there is not."""
    schema = visit.site.schema
    account = await view.account(tx, schema, asked.code)
    entries = await view.entries(tx, schema, asked.code, before=asked.before)
    more = len(entries) == PAGE_ROWS and entries[-1].version > 1
    return {
        "account": account,
        "above": above(asked.code),
        "found": Rows(entries, str(entries[-1].version) if more else None),
        "written": view.written,
        "command": shlex.join(["troth", "ledger", "show", asked.code]),
    }


PAGE = Page(
    name="account",
    path="/ledger/account",
    heading="Account",
    within="ledger",
    ask=ask,
    read=read,
    topics=lambda _asked: ("ledger",),
)
