"""An account of our ledger as a source, and corrections of breaks as transfers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from troth.base import codec
from troth.base.money import Money
from troth.ledger import Ledger, Transfer
from troth.reconcile.model import Break, Item, Page, Source, SourceError, Window
from troth.reconcile.settling import Correct
from troth.reconcile.sources.effects import queries
from troth.store.parts import Connections
from troth.store.tx import Tx

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Posting:
    """What a transfer has posted to an account. *key*: the text that is its id, if it has one. *code*, *metadata*: as posted."""

    transfer: UUID
    key: str | None
    kind: str
    code: str | None
    metadata: dict[str, Any]


def _own_key(posting: Posting) -> str | None:
    return posting.key


class Postings:
    """What was posted to an account: `Postings("assets:bank")`, by effective time.

    What is on the account's normal side is positive: a debit of an asset, a credit of an income. *key* makes the item's key of
    a posting; without it, that is the text that the transfer has as its id, so post under the key of the effect. *reference*
    and *group* make the texts of that name. The item's `kind` is the transfer's code.
    """

    def __init__(
        self,
        account: str,
        *,
        key: Callable[[Posting], str | None] = _own_key,
        reference: Callable[[Posting], str] | None = None,
        group: Callable[[Posting], str] | None = None,
    ) -> None:
        self.name = f"account {account}"
        self.account = account
        self._key = key
        self._reference = reference
        self._group = group

    def within(self, schema: str, connections: Connections) -> Source:
        """The source, for one schema."""
        return _Within(self, schema, connections)

    def item(self, row: Any, currency: str, normal: str) -> Item:
        """One posting as an item."""
        _, transfer, key, posted, side, at, kind, code, metadata = row
        posting = Posting(transfer, key, kind, code, metadata or {})
        return Item(
            str(transfer), posted if side == normal else -posted, currency, at, self._key(posting), kind=code or "",
            reference=self._reference(posting) if self._reference else "",
            group=self._group(posting) if self._group else "", evidence=f"transfer {key or transfer}",
        )  # fmt: skip


class _Within:
    """Postings, with a database to read them in."""

    def __init__(self, postings: Postings, schema: str, connections: Connections) -> None:
        self._postings = postings
        self._q = queries(schema)
        self._connections = connections

    @property
    def name(self) -> str:
        """For people."""
        return self._postings.name

    async def page(self, cursor: str | None, window: Window) -> Page:
        """Some postings: those that count when they were booked, in the order of the account's versions, then the others, in the
        order of when they count; the last page says how many there are.

        Raises `SourceError` for an account that there is not, and while legs of the window wait to be folded into entries.
        """
        code = self._postings.account
        bounds = {"first": window.first, "last": window.last}
        async with self._connections.connection() as tx:
            found = await (await tx.execute(self._q.account, {"code": code, **bounds})).fetchone()
            if found is None:
                raise SourceError(f"there is no account {code} in the ledger")
            account, currency, normal, unfolded = found
            if cursor is None and unfolded:
                msg = f"{unfolded} legs of {code} are not folded into entries yet: a worker with the ledger does that"
                raise SourceError(msg)
            params = {"account": account, **bounds}
            at, after = codec.decode(cursor.encode()) if cursor else (None, 0)
            some = {**params, "at": at, "after": after, "limit": _PAGE}
            query = self._q.postings if at is None else self._q.postings_elsewhen
            rows = await (await tx.execute(query, some)).fetchall()
            items = [self._postings.item(row, currency, normal) for row in rows]
            if len(rows) == _PAGE:
                version, *_, counts_at = rows[-1][:6]
                return Page(items, _cursor(None if at is None else counts_at, version))
            if at is None:
                return Page(items, _cursor(window.first, 0))
            counted = await (await tx.execute(self._q.postings_count, params)).fetchone()
        assert counted is not None
        return Page(items, None, int(counted[0]))


def _cursor(at: datetime | None, after: int) -> str:
    return codec.encode([at, after]).decode()


def by_transfer(ledger: Ledger, accounts: Callable[[Break], tuple[str, str]]) -> Correct:
    """A `correct=` that books the money at risk of a break as a transfer, linked to it by its id and metadata.

    *accounts*: which account is debited, and which credited. Raises what *accounts* and the ledger raise: then the break
    stays open, and its history says why.
    """

    async def correct(tx: Tx, found: Break) -> str:
        debit, credit = accounts(found)
        name = f"break/{found.id}/{found.last_run}"
        about = {
            "break": found.id,
            "reconciliation": found.reconciliation,
            "subject": found.subject,
        }
        amount = Money(found.minor, found.currency)
        await ledger.post(
            tx, Transfer(name, debit, credit, amount, code="correction", metadata=about)
        )
        return name

    return correct
