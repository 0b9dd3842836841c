"""What workers do for the ledger: entries of what is in the queue, the end of holds, totals of closed periods.

Folding takes calls out of the queue and makes entries of their legs in one transaction, so nothing is done twice and nothing
is passed over, however late a call is committed. Several folders skip each other's calls. A folder remembers where it was, and
looks at the whole queue again now and then: the number only spares it walking over what is gone already.
"""

from __future__ import annotations

import asyncio
from typing import Final

from troth.ledger import rules, store
from troth.store.connect import AsyncConnection
from troth.store.parts import Workplace
from troth.store.plan import Plan, carry_out
from troth.store.queries import Queries

FOLD_BATCH: Final = 2000
_HOLDS: Final = 100
_ACCOUNTS: Final = 200
_WHOLE_EVERY_S: Final = 2.0
_PERIODS_EVERY_S: Final = 60.0


def expire(q: Queries, limit: int) -> Plan[int]:
    """Book the end of up to *limit* holds whose time is over; how many."""
    due = yield from store.due_holds(q, limit)
    if not due:
        return 0
    prepared = [rules.expiry(hold) for hold in due]
    found = yield from store.post(q, prepared, [None] * len(due), strict=False, direct=False)
    return sum(result.outcome == "created" for result in found)


class Folder:
    """Folds the queue of one ledger, and books what has come to its time."""

    channel = "ledger_fold"
    connections = 1
    name = "the ledger's folder"

    def __init__(self, queries: Queries, every_s: float) -> None:
        self._q = queries
        self._every_s = every_s
        self._after = 0
        self._whole_at = 0.0
        self._periods_at = 0.0

    async def work(self, place: Workplace) -> None:
        """Work until cancelled. Each batch is a transaction of its own."""
        now = asyncio.get_running_loop().time
        while True:
            async with place.connections.connection() as connection:
                folded = await self.fold(connection, now())
                await self._end_holds(connection)
                if now() >= self._periods_at:
                    self._periods_at = now() + _PERIODS_EVERY_S
                    await self._close(connection)
                wait = await carry_out(connection, store.next_expiry(self._q))
            if folded < FOLD_BATCH:
                await place.alarm.wait(self._every_s if wait is None else min(wait, self._every_s))

    async def fold(self, connection: AsyncConnection, now_s: float) -> int:
        """Fold one batch; how many legs it had (*connection*: autocommit)."""
        if now_s >= self._whole_at:
            self._after, self._whole_at = 0, now_s + _WHOLE_EVERY_S
        folded, self._after = await carry_out(
            connection, store.fold(self._q, FOLD_BATCH, self._after)
        )
        return folded

    async def _end_holds(self, connection: AsyncConnection) -> None:
        while await carry_out(connection, expire(self._q, _HOLDS)) == _HOLDS:
            pass

    async def _close(self, connection: AsyncConnection) -> None:
        while await carry_out(connection, store.check_point(self._q, _ACCOUNTS)) == _ACCOUNTS:
            pass
