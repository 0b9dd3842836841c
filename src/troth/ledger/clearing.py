"""Clearing accounts: a flow says which balances must be back at zero by when, and what is not becomes visible by itself.

Money that is on its way (charged, and not yet paid out; paid out, and not yet at the bank) stands on a clearing account in
between. If an event is lost or comes with another amount, the account of exactly that customer or payout does not return to
zero. Nobody has to look for it: once it is overdue it stands in the list of what waits for a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from troth.base.errors import UsageError
from troth.base.money import Money
from troth.ledger.rules import account_code
from troth.store.isolation import transaction_async
from troth.store.parts import Relay, Workplace
from troth.store.queries import Queries, load
from troth.store.tx import Tx

_LONGEST: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Overdue:
    """An account that should be back at zero: *left* is still on it, on its normal side, *since* when, and *due_at* when."""

    account: str
    tenant: str | None
    metadata: Mapping[str, Any] | None
    left: Money
    since: datetime
    due_at: datetime


class Clearing:
    """A flow whose accounts must return to zero: `troth.include(Clearing("payouts", under="clearing:stripe", within=…))`.

    *name*: the flow, as people know it. *under*: an account and those below it in the tree; give each customer, payment
    or payout one of its own, so that it is seen whose money is stuck. *within*: how long a balance may be other than zero,
    from the entry that made it so. *look_every*: how often workers look. Raises `UsageError` for what makes no sense.
    """

    def __init__(
        self,
        name: str,
        *,
        under: str,
        within: timedelta,
        look_every: timedelta = timedelta(minutes=1),
    ) -> None:
        if not name:
            raise UsageError("a Clearing has the name of its flow")
        if not timedelta(0) < within <= _LONGEST:
            raise UsageError(
                f"within= of {name!r} is greater than 0 and at most ten years, not {within}"
            )
        if look_every <= timedelta(0):
            raise UsageError(f"look_every= of {name!r} is greater than 0, not {look_every}")
        self._name = name
        self.under = account_code(under)
        self.within = within
        self._look_every = look_every
        self._schema: str | None = None

    @property
    def name(self) -> str:
        """The flow (`troth.store.parts.Part`)."""
        return self._name

    def bind(self, schema: str) -> None:
        """Use the tables of this schema (`troth.store.parts.Part`)."""
        self._schema = schema

    @property
    def relays(self) -> Sequence[Relay]:
        """What workers do: look (`troth.store.parts.Part`)."""
        return [_Watch(self, self._look_every.total_seconds())]

    async def look(self, tx: Tx) -> int:
        """Note now which accounts are overdue, and forget those that are not any more; how many are.

        Workers do it by themselves. 0 also if somebody else is looking at this moment.
        """
        params = {"flow": self._name, "under": self.under, "within": self.within}
        row = await (await tx.execute(self._queries.look, params)).fetchone()
        return row[0] if row and row[0] else 0

    async def overdue(self, tx: Tx, *, limit: int = 100) -> list[Overdue]:
        """What was noted when somebody looked last, what was due first at the top; at most *limit*."""
        params = {"flow": self._name, "limit": limit}
        rows = await (await tx.execute(self._queries.overdue, params)).fetchall()
        return [
            Overdue(account, tenant, metadata, Money(minor, currency), since, due_at)
            for account, tenant, metadata, minor, currency, since, due_at in rows
        ]

    @property
    def _queries(self) -> Queries:
        if self._schema is None:
            raise UsageError(f"the Clearing {self._name!r} belongs to no Troth: troth.include(…)")
        return load("troth.ledger", self._schema, "clearing.sql")


class _Watch:
    """The relay that looks at one flow."""

    channel = "ledger"
    connections = 1

    def __init__(self, clearing: Clearing, every_s: float) -> None:
        self._clearing = clearing
        self._every_s = every_s

    @property
    def name(self) -> str:
        return f"ledger clearing {self._clearing.name}"

    async def work(self, place: Workplace) -> None:
        """Look, now and again; two that look at once are harmless."""
        while True:
            async with (
                place.connections.connection() as connection,
                transaction_async(connection, "read committed"),
            ):
                await self._clearing.look(connection)
            await place.alarm.wait(self._every_s)
