"""`Ledger`: the books of a schema, as users have them. Every verb is part of the transaction that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from troth.base.errors import UsageError
from troth.ledger import rules, store
from troth.ledger.accounts import Accounts, Periods, missing, page
from troth.ledger.fold import Folder, expire
from troth.ledger.model import (
    Balance,
    Entry,
    Id,
    InvalidTransferError,
    Item,
    Linked,
    Posted,
    Result,
    Total,
)
from troth.ledger.seal import Sealing
from troth.store.parts import Relay
from troth.store.plan import Plan, carry_out, carry_out_blocking
from troth.store.queries import Queries
from troth.store.tx import BlockingTx, Tx

if TYPE_CHECKING:
    from troth.ledger.group import Poster


class Ledger:
    """The books of a schema: `ledger = troth.include(Ledger())`.

    *fold_every*: seconds after which a worker looks for legs to make entries of, if nobody has told it before.
    """

    def __init__(self, *, fold_every: float = 1.0) -> None:
        if fold_every <= 0:
            raise UsageError(f"fold_every is greater than 0 seconds, not {fold_every}")
        self._fold_every = fold_every
        self._bound: Queries | None = None
        self._schema = ""
        self.accounts = Accounts(lambda: self.queries)
        self.periods = Periods(lambda: self.queries)

    @property
    def name(self) -> str:
        """There is one in a schema (`troth.store.parts.Part`)."""
        return "ledger"

    def bind(self, schema: str) -> None:
        """Use the tables of this schema (`troth.store.parts.Part`)."""
        self._schema = schema
        self._bound = store.queries(schema)

    @property
    def relays(self) -> Sequence[Relay]:
        """What workers do: make entries of the queue, book the end of holds, seal (`troth.store.parts.Part`)."""
        return [Folder(self.queries, self._fold_every), Sealing(self._schema)]

    @property
    def queries(self) -> Queries:
        """Its statements. Raises `UsageError` if it is not part of a program yet."""
        if self._bound is None:
            raise UsageError("this ledger belongs to no Troth: ledger = troth.include(Ledger())")
        return self._bound

    # Posting ----------------------------------------------------------------------------------------------------------

    async def post(self, tx: Tx, item: Item) -> Result:
        """Post one item in *tx*: it is in the books if and only if that commits.

        The same item again is `exists`, with what came of it first. Raises `TransferRefused`, with nothing written, and
        `InvalidTransferError` for what no books could take.
        """
        return (await self.post_all(tx, [item]))[0]

    def post_blocking(self, tx: BlockingTx, item: Item) -> Result:
        """As `post`, from a thread."""
        return self.post_all_blocking(tx, [item])[0]

    async def post_all(self, tx: Tx, items: Sequence[Item | Linked]) -> list[Result]:
        """Post items in *tx*, in their order: all of them, or none. What came of each.

        Raises `TransferRefused`, with nothing written, if one is refused; and `InvalidTransferError`.
        """
        return await carry_out(tx, self._post(items, strict=True))

    def post_all_blocking(self, tx: BlockingTx, items: Sequence[Item | Linked]) -> list[Result]:
        """As `post_all`, from a thread."""
        return carry_out_blocking(tx, self._post(items, strict=True))

    async def try_post(self, tx: Tx, item: Item) -> Result:
        """As `post`, but a refusal is an answer: it is recorded in *tx*, and final for this id.

        Raises `InvalidTransferError`.
        """
        return (await self.try_post_all(tx, [item]))[0]

    def try_post_blocking(self, tx: BlockingTx, item: Item) -> Result:
        """As `try_post`, from a thread."""
        return self.try_post_all_blocking(tx, [item])[0]

    async def try_post_all(self, tx: Tx, items: Sequence[Item | Linked]) -> list[Result]:
        """Post what can be posted, each for itself; what came of each item, those of a `Linked` one after the other.

        Refusals are recorded in *tx*, and final for their ids. Raises `InvalidTransferError`.
        """
        return await carry_out(tx, self._post(items, strict=False))

    def try_post_all_blocking(self, tx: BlockingTx, items: Sequence[Item | Linked]) -> list[Result]:
        """As `try_post_all`, from a thread."""
        return carry_out_blocking(tx, self._post(items, strict=False))

    def poster(self, url: str | None = None, *, batch: int = 500, flights: int = 2) -> Poster:
        """Many callers' items in one call: `async with ledger.poster(troth.url) as poster: await poster.post(item)`.

        *url*: as of a `Troth`. *batch*: items of a call, at most. *flights*: calls at once, at most, each on a
        connection of its own; a second one goes when it is full.
        """
        from troth.ledger.group import Poster  # psycopg, which a command need not pay for

        return Poster(self.queries, url, batch=batch, flights=flights)

    # Reading ----------------------------------------------------------------------------------------------------------

    async def balance(
        self,
        tx: Tx,
        account: str,
        *,
        at: datetime | None = None,
        effective_at: datetime | None = None,
    ) -> Balance:
        """The totals of an account: now, of what was booked by *at*, or posted with an effective time by *effective_at*.

        Times have their zones. What is held has no effective time: by that, only what is posted is counted, and pending
        totals are 0. Raises `AccountNotFoundError`, and `InvalidTransferError` for what is no time or no code.
        """
        return await carry_out(tx, self._balance(account, at, effective_at))

    def balance_blocking(
        self, tx: BlockingTx, account: str, *, at: datetime | None = None, effective_at: datetime | None = None
    ) -> Balance:  # fmt: skip
        """As `balance`, from a thread."""
        return carry_out_blocking(tx, self._balance(account, at, effective_at))

    async def balances(self, tx: Tx, accounts: Sequence[str]) -> dict[str, Balance]:
        """The totals of accounts now, all at one moment; those that do not exist are left out."""
        found = await carry_out(tx, store.balances(self.queries, accounts))
        return {each.account: each for each in found}

    def balances_blocking(self, tx: BlockingTx, accounts: Sequence[str]) -> dict[str, Balance]:
        """As `balances`, from a thread."""
        found = carry_out_blocking(tx, store.balances(self.queries, accounts))
        return {each.account: each for each in found}

    async def trial_balance(
        self, tx: Tx, *, at: datetime | None = None, effective_at: datetime | None = None
    ) -> list[Total]:
        """A line for each currency: the sum of all accounts, now or as `balance` has it of a time. Its sides are equal.

        Looking back costs a look-up for each account. Raises `InvalidTransferError` for what is no time.
        """
        _require_times(at, effective_at)
        return await carry_out(tx, store.trial_balance(self.queries, at, effective_at))

    def trial_balance_blocking(
        self, tx: BlockingTx, *, at: datetime | None = None, effective_at: datetime | None = None
    ) -> list[Total]:
        """As `trial_balance`, from a thread."""
        _require_times(at, effective_at)
        return carry_out_blocking(tx, store.trial_balance(self.queries, at, effective_at))

    async def statement(
        self, tx: Tx, account: str, *, limit: int = 100, before: int | None = None
    ) -> list[Entry]:
        """The entries of an account, the latest first; *before*: those with a smaller version. The queue is not in it yet."""
        return await carry_out(tx, store.statement(self.queries, account, before, page(limit)))

    def statement_blocking(
        self, tx: BlockingTx, account: str, *, limit: int = 100, before: int | None = None
    ) -> list[Entry]:
        """As `statement`, from a thread."""
        return carry_out_blocking(tx, store.statement(self.queries, account, before, page(limit)))

    async def transfer(self, tx: Tx, transfer: Id) -> Posted | None:
        """The transfer with this id as it is in the books; None if there is none."""
        return await carry_out(tx, store.transfer(self.queries, rules.transfer_id(transfer)))

    def transfer_blocking(self, tx: BlockingTx, transfer: Id) -> Posted | None:
        """As `transfer`, from a thread."""
        return carry_out_blocking(tx, store.transfer(self.queries, rules.transfer_id(transfer)))

    # What workers do by themselves ------------------------------------------------------------------------------------

    async def fold(self, tx: Tx, *, limit: int = 1000) -> int:
        """Make entries of legs that are in the queue; how many. Workers do it by themselves.

        Calls are folded whole, until that is *limit* legs or more.
        """
        return (await carry_out(tx, store.fold(self.queries, limit, 0)))[0]

    def fold_blocking(self, tx: BlockingTx, *, limit: int = 1000) -> int:
        """As `fold`, from a thread."""
        return carry_out_blocking(tx, store.fold(self.queries, limit, 0))[0]

    async def expire(self, tx: Tx, *, limit: int = 100) -> int:
        """Book the end of up to *limit* holds whose time is over; how many. Workers do it by themselves."""
        return await carry_out(tx, expire(self.queries, limit))

    def expire_blocking(self, tx: BlockingTx, *, limit: int = 100) -> int:
        """As `expire`, from a thread."""
        return carry_out_blocking(tx, expire(self.queries, limit))

    # Plans ------------------------------------------------------------------------------------------------------------

    def _post(self, items: Sequence[Item | Linked], *, strict: bool) -> Plan[list[Result]]:
        prepared, groups = rules.gather(items)
        found = yield from store.post(self.queries, prepared, groups, strict=strict, direct=False)
        if strict:
            rules.require_posted(prepared, found)
        return found

    def _balance(
        self, account: str, at: datetime | None, effective_at: datetime | None
    ) -> Plan[Balance]:
        rules.account_code(account)
        _require_times(at, effective_at)
        found: Balance | None
        if at is not None:
            found = yield from store.balance_at(self.queries, account, at)
        elif effective_at is not None:
            found = yield from store.balance_effective(self.queries, account, effective_at)
        else:
            found = next(iter((yield from store.balances(self.queries, [account]))), None)
        if found is None:
            raise missing(account)
        return found


def _require_times(at: datetime | None, effective_at: datetime | None) -> None:
    if at is not None and effective_at is not None:
        raise InvalidTransferError("a balance is asked at= or effective_at=, not both")
    for word, time in (("at", at), ("effective_at", effective_at)):
        if time is not None:
            rules.seconds(time, word)
