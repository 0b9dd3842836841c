"""Clearing accounts: a flow says which balances must be back at zero by when, and what is not becomes visible by itself.

Money that is on its way (charged, and not yet paid out; paid out, and not yet at the bank) stands on a clearing account in
between. If an event is lost or comes with another amount, the account of exactly that customer or payout does not return to
zero. Nobody has to look for it: once it is overdue it stands in the list of what waits for a person, with the flow and whose it
is; it is told to listeners, counted, and gone from there by itself when the balance is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from troth.base.errors import UsageError
from troth.base.events import LedgerOverdue
from troth.base.money import Money
from troth.ledger.model import customer_of
from troth.ledger.rules import account_code, is_storable, json_object
from troth.store.isolation import transaction_async
from troth.store.parts import Relay, Workplace
from troth.store.queries import Queries, load
from troth.store.tx import Tx

_LONGEST: Final = timedelta(days=3650)
_MOST_TOLD: Final = 1000  # accounts of one look that are told of one by one


@dataclass(frozen=True, slots=True)
class Overdue:
    """An account that should be back at zero: *left* is still on it, on its normal side, *since* when, and *due_at* when."""

    account: str
    tenant: str | None
    metadata: Mapping[str, Any] | None
    left: Money
    since: datetime
    due_at: datetime

    @property
    def customer(self) -> str:
        """Whose it is: the account's tenant, its `customer` in metadata, or the last part of its code."""
        return customer_of(self.account, self.tenant, self.metadata)


def _require_time(word: str, flow: str, given: object) -> None:
    if not isinstance(given, timedelta) or not timedelta(0) < given <= _LONGEST:
        msg = f"{word}= of {flow!r} is a timedelta greater than 0 and at most ten years, not {given!r}"
        raise UsageError(msg)


class Clearing:
    """A flow whose accounts must return to zero: `troth.include(Clearing("payouts", under="clearing:stripe", within=…))`.

    *name*: the flow, as people know it. *under*: an account and those below it in the tree; give each customer, payment
    or payout one of its own, so that it is seen whose money is stuck. *metadata*: only of accounts whose metadata has all of
    this, if the tree is not that of the flows. *within*: how long a balance may be other than zero, from the entry that made
    it so. *look_every*: how often workers look. Raises `UsageError` for what makes no sense.
    """

    def __init__(
        self,
        name: str,
        *,
        under: str,
        within: timedelta,
        metadata: Mapping[str, Any] | None = None,
        look_every: timedelta = timedelta(minutes=1),
    ) -> None:
        if not name or not is_storable(name):
            raise UsageError(f"a Clearing has the name of its flow, not {name!r}")
        _require_time("within", name, within)
        _require_time("look_every", name, look_every)
        self._name = name
        self.under = account_code(under)
        self.within = within
        self._metadata = json_object(metadata or None)
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
        return (await self.note(tx))[0]

    async def note(self, tx: Tx) -> tuple[int, list[LedgerOverdue]]:
        """As `look`, and what is to be told when *tx* has committed."""
        params = {
            "flow": self._name, "under": self.under, "within": self.within, "metadata": self._metadata, "most": _MOST_TOLD,
        }  # fmt: skip
        rows = await (await tx.execute(self._queries.look, params)).fetchall()
        now, noted, news = datetime.now(UTC), 0, []
        for what, account, tenant, metadata, currency, minor, due_at, accounts in rows:
            if what == "noted":
                noted = accounts
                continue
            whose = None if account is None else customer_of(account, tenant, metadata)
            late_s = max(0.0, (now - due_at).total_seconds())
            news.append(
                LedgerOverdue(self._name, what, account, whose, accounts, int(minor), currency, late_s)
            )  # fmt: skip
        return noted, news

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
                _, news = await self._clearing.note(connection)
            for each in news:
                place.telemetry.emit(each)
            await place.alarm.wait(self._every_s)
