"""The providers that effects call: whether they are called at all, how fast they may be, and who may call at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.paging import PAGE_ROWS, Page, cursor, line, position, rows_of


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """One provider. Lengths in seconds; None where nothing was declared.

    *rate_limit* calls in any *rate_per_s* seconds; *concurrency* calls at once. *breaker*: closed (it is called), open (it
    is not, for *opens_in_s* more), trial (one call is tried). *failed_at*: when what it is open for has failed, *failed_s*
    seconds ago; None if it is closed. *failures*: in a row, of *breaker_failures* that open it.
    *booked_s*: for how long the slots ahead are taken: how long the next call waits. *holders*: workers that may call at
    once; they have leases for *held* calls, and have or want *demand*; *hungry* of them have less than their share; *lost*
    are dead, and their leases run out.
    """

    name: str
    rate_limit: int | None
    rate_per_s: float | None
    concurrency: int | None
    breaker_failures: int | None
    breaker_pause_s: float | None
    failures: int
    breaker: Literal["closed", "open", "trial"]
    open_until: datetime | None
    opens_in_s: float | None
    failed_at: datetime | None
    failed_s: float | None
    booked_s: float
    declared_by: str | None
    holders: int
    held: int
    demand: int
    hungry: int
    lost: int


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "providers.sql")


async def providers(
    tx: Tx,
    schema: str,
    *,
    name: str | None = None,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[ProviderLine]:
    """A page of providers, by name, or the one of this *name*. Raises `UsageError` for a wrong *after* or *limit*."""
    (last,) = position(after, str)
    params = {"name": name, "after": last or "", "limit": rows_of(limit)}
    rows = await (await tx.execute(queries(schema).lines, params)).fetchall()
    found = tuple(_line(*row) for row in rows)
    return Page(found, cursor(found[-1].name) if len(found) == limit else None)


def _line(*row: Any) -> ProviderLine:
    *declared, open_until, left_s, failed_at, failed_s, trial, booked_s, who = row[:14]
    breaker: Literal["closed", "open", "trial"] = "closed"
    if open_until is not None:
        breaker = "open" if left_s > 0 else "trial"
    if trial:
        breaker = "trial"
    opens_in_s = left_s if breaker == "open" else None
    leases = (int(each) for each in row[14:])
    standing = (breaker, open_until, opens_in_s, failed_at, failed_s, booked_s, who)
    return line(ProviderLine, *declared, *standing, *leases)
