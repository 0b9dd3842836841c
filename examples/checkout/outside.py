"""The other side: a payment provider, a carrier and a mailbox, in one file that outlives every process.

It knows nothing of troth, and writes down each request that had a consequence. So what the shop believes can be compared
with what really happened. The provider dedupes by idempotency key; the carrier does not, but it can be asked for a
reference; a mailbox can neither.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

_TABLE = """
    CREATE TABLE IF NOT EXISTS consequence
        (n INTEGER PRIMARY KEY, what TEXT, order_id TEXT, reference TEXT, once TEXT UNIQUE)
"""


class DeclinedError(Exception):
    """The card is not good. An answer of the provider, not a failure."""


class Outside:
    """All three. Safe to use from several threads and processes: each request is a connection of its own."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        session = self._connect()
        session.execute(_TABLE)
        session.close()

    # The provider -----------------------------------------------------------------------------------------------------

    def charge(self, key: str, order_id: str, card: str) -> str:
        """Take the money; the same key again takes it only once. Raises `DeclinedError`."""
        if card == "declined":
            raise DeclinedError("insufficient funds")
        known = self._find("charge", key)
        number = self._happens("charge", order_id, key, once=key)
        if card == "answer lost" and known is None:
            raise ConnectionResetError("the provider has charged, and its answer is lost")
        return f"ch_{number}"

    def refund(self, key: str, order_id: str) -> str:
        """Give the money back; the same key again gives it only once."""
        return f"re_{self._happens('refund', order_id, key, once=key)}"

    def find_charge(self, key: str) -> str | None:
        """The charge that was made with this key."""
        number = self._find("charge", key)
        return f"ch_{number}" if number else None

    # The carrier ------------------------------------------------------------------------------------------------------

    def ship(self, reference: str, order_id: str) -> str:
        """Fetch a parcel. Asked twice, it sends two lorries."""
        return f"parcel-{self._happens('parcel', order_id, reference)}"

    def find_parcel(self, reference: str) -> str | None:
        """The parcel that was handed over with this reference."""
        number = self._find("parcel", reference)
        return f"parcel-{number}" if number else None

    # The mailbox ------------------------------------------------------------------------------------------------------

    def mail(self, message_id: str, order_id: str) -> None:
        """Deliver a mail. A mail program shows one Message-ID once."""
        self._happens("mail", order_id, message_id, once=f"mail {message_id}")

    # What really happened ---------------------------------------------------------------------------------------------

    def counted(self, order_id: str) -> Counter[str]:
        """How often what happened for an order: `charge`, `refund`, `parcel`, `mail`."""
        session = self._connect()
        rows = session.execute("SELECT what FROM consequence WHERE order_id = ?", (order_id,))
        found = Counter(str(what) for (what,) in rows)
        session.close()
        return found

    def _happens(self, what: str, order_id: str, reference: str, *, once: str | None = None) -> int:
        session = self._connect()
        session.execute(
            "INSERT OR IGNORE INTO consequence (what, order_id, reference, once) VALUES (?, ?, ?, ?)",
            (what, order_id, reference, once),
        )
        session.close()
        number = self._find(what, reference)
        assert number is not None
        return number

    def _find(self, what: str, reference: str) -> int | None:
        session = self._connect()
        row = session.execute(
            "SELECT max(n) FROM consequence WHERE what = ? AND reference = ?", (what, reference)
        ).fetchone()
        session.close()
        return None if row[0] is None else int(row[0])

    def _connect(self) -> sqlite3.Connection:
        session = sqlite3.connect(self._file, timeout=10, isolation_level=None)
        session.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing even so
        return session
