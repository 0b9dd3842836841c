"""The list of runs: by what they are chosen, a page of them, and how many there are.

Of runs that have ended nothing but the id is indexed, which is by time. So a page looks at `SCAN_RUNS` runs at most, and
says down to where it has looked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from troth.journal import store as journal
from troth.journal.model import ENDED, Reason, RunState
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.filters import Criteria, Since
from troth.view.model import LAST_ID, MOST_RUNS, RunLine
from troth.view.paging import Count, Page, capped, rows_of

SCAN_RUNS = 20_000  # alive, and as many ended
FIRST_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class RunFilter(Criteria):
    """Which runs to list. An empty *states* means all of them; *since* looks at when a run was made.

    *workflow*: all its versions, or one (`name@2`). *key*: its start key, exactly.
    """

    states: frozenset[RunState] = field(default=frozenset(), metadata={"word": "state"})
    reasons: frozenset[Reason] = field(default=frozenset(), metadata={"word": "reason"})
    workflow: str | None = None
    key: str | None = None
    parent: UUID | None = None
    since: Since = Since()  # noqa: RUF009  (frozen)

    @property
    def live(self) -> bool:
        """Can a run that has not ended match?"""
        return not self.states or bool(self.states - ENDED)

    @property
    def ended(self) -> bool:
        """Can a run that has ended match? If not, history need not be read."""
        return not self.reasons and (not self.states or bool(self.states & ENDED))


def queries(schema: str) -> Queries:
    """The statements of lists of runs, for one schema."""
    return load("troth.view", schema, "runs.sql")


async def runs(
    tx: Tx,
    schema: str,
    which: RunFilter,
    *,
    before: UUID = LAST_ID,
    above: UUID = FIRST_ID,
    limit: int = 50,
    scan: int = SCAN_RUNS,
) -> list[RunLine]:
    """Runs with *above* < id < *before*, newest first, live and ended; at most *limit*, at most `MOST_RUNS`.

    Of those that are alive and of those that have ended, *scan* are looked at.
    """
    params = await _params(tx, schema, which)
    if params is None:
        return []
    params |= {"before": before, "above": above, "limit": min(limit, MOST_RUNS), "scan": scan}
    rows = await (await tx.execute(queries(schema).runs, params)).fetchall()
    return [RunLine(*row) for row in rows]


async def page(
    tx: Tx,
    schema: str,
    which: RunFilter,
    *,
    after: UUID | None = None,
    limit: int = 50,
    scan: int = SCAN_RUNS,
) -> Page[RunLine]:
    """A page of runs, newest first, from below the id *after*. Its `next` is an id. Raises `UsageError`."""
    before, limit = after or LAST_ID, rows_of(limit)
    found = await runs(tx, schema, which, before=before, limit=limit + 1, scan=scan)
    if which.key is None:
        # Where not all runs were looked at, those below are for the next page: one of the two lists may be shorter.
        params = await _params(tx, schema, which) or {}
        params |= {"before": before, "scan": scan}
        row = await (await tx.execute(queries(schema).horizon, params)).fetchone()
        horizon: UUID | None = row[0] if row else None
        if horizon is not None:
            found = [line for line in found if line.id >= horizon]
            if len(found) <= limit:
                return Page(tuple(found), str(horizon), cut=True)
    if len(found) > limit:
        return Page(tuple(found[:limit]), str(found[limit - 1].id))
    return Page(tuple(found))


async def count(tx: Tx, schema: str, which: RunFilter, cap: int = 1000) -> Count:
    """How many runs that are alive match, up to *cap*. Those that have ended are not counted."""
    params = await _params(tx, schema, which)
    if params is None or not which.live:
        return Count(0)
    row = await (await tx.execute(queries(schema).count, params | {"cap": cap})).fetchone()
    assert row is not None
    return capped(row[0], cap)


async def live_ids(tx: Tx, schema: str, which: RunFilter, limit: int) -> list[UUID]:
    """The ids of the newest runs that are alive and match; at most *limit*."""
    params = await _params(tx, schema, which)
    if params is None or not which.live:
        return []
    rows = await (await tx.execute(queries(schema).live_ids, params | {"limit": limit})).fetchall()
    return [row[0] for row in rows]


async def _params(tx: Tx, schema: str, which: RunFilter) -> dict[str, object] | None:
    """What the statements are given; None if nothing can match."""
    run_id = None
    if which.key is not None:
        run_id = await journal.run_of_key(tx, journal.queries(schema), which.key)
        if run_id is None:
            return None
    return {
        "live": which.live,
        "ended": which.ended,
        "since": which.since.at(),
        "states": sorted(which.states) or None,
        "reasons": sorted(which.reasons) or None,
        "workflow": which.workflow,
        "parent": which.parent,
        "id": run_id,
    }
