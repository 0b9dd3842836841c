"""BAI2, which banks in North America send: balances and transactions of accounts for a day. Needs `troth[statements]`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from troth.reconcile.model import Item, SourceError, Statement
from troth.reconcile.sources.files import Files, Statements, Told

_OPENING: Final = "010"
_CLOSING: Final = "015"
_RETURNS: Final = frozenset(
    {"255", "257", "258", "555", "557", "558"}
)  # credits and debits that come back


class Bai2(Statements):
    """The BAI2 files of one bank: `Bai2(Folder(Path("statements"), "*.bai"))`.

    *zone*: of the bank's days. *keyed*: the customer reference of what we have sent is the effect's key; otherwise it is the
    item's `reference`, for rules. Record counts and control totals are checked by the library `bai2`. An account needs its
    opening (010) and closing (015) ledger balance.
    """

    kind = "BAI2"

    def __init__(self, files: Files, *, zone: tzinfo = UTC, keyed: bool = False) -> None:
        super().__init__(files)
        self._zone = zone
        self._keyed = keyed

    def parse(self, name: str, content: bytes) -> list[Told]:
        """The statements of a file. Raises `SourceError` for what is no BAI2, or does not come to what its trailers say."""
        try:
            from bai2 import bai2
        except ImportError as error:
            msg = f"{name}: reading BAI2 needs another package: pip install 'troth[statements]'"
            raise SourceError(msg) from error
        try:
            file = bai2.parse_from_string(content.decode("ascii", errors="replace"))
            return [
                self._account(account, group.header)
                for group in file.children
                for account in group.children
            ]
        except Exception as error:  # its own kinds, and whatever a damaged file makes of it
            raise SourceError(f"{name} is not a BAI2 file that can be read: {error!r}") from error

    def _account(self, account: Any, group: Any) -> Told:
        day = group.as_of_date
        first = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        number = account.header.customer_account_number
        currency = account.header.currency or group.currency or "USD"
        balances = {
            each.type_code.code: each.amount
            for each in account.header.summary_items
            if each.type_code
        }
        if _OPENING not in balances or _CLOSING not in balances:
            raise ValueError(f"account {number} has no opening (010) or closing (015) balance")
        id_ = f"{number}/{day:%Y-%m-%d}"
        items = [
            self._item(each, f"{id_}/{n}", number, currency, first)
            for n, each in enumerate(account.children, start=1)
        ]
        statement = Statement(id_, number, currency, balances[_OPENING], balances[_CLOSING])
        return Told(statement, items, first, first + timedelta(days=1))

    def _item(self, entry: Any, place: str, account: str, currency: str, at: datetime) -> Item:
        side = getattr(entry.type_code.transaction, "value", None)
        if side not in {"credit", "debit"}:
            raise ValueError(
                f"entry {place} ({entry.type_code.code}) is neither a credit nor a debit"
            )
        code = entry.type_code.code
        amount = entry.amount if side == "credit" else -entry.amount
        returned = code in _RETURNS
        reference = (entry.customer_reference or "").strip()
        keyed = bool(self._keyed and reference and not returned)
        named = (entry.bank_reference or "").strip()
        return Item(
            f"{account}/{named}" if named else place, amount, currency, at, reference if keyed else None,
            kind="return" if returned else side, reference=reference, evidence=f"BAI2 {place}",
        )  # fmt: skip
