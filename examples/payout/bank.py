"""The bank: another company's service, which pays once for each idempotency key and keeps its own books.

    python -m examples.payout.bank BOOKS PORT [HANG_AFTER]

It knows nothing of troth. BOOKS is a file with every request and every payment, so that the two can be compared. It speaks
JSON, a line for each request. After HANG_AFTER requests it is ill: it pays, and does not answer, until it gets SIGUSR1.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from pathlib import Path

SCHEMA = """
    CREATE TABLE IF NOT EXISTS payment (key TEXT PRIMARY KEY, payee INTEGER NOT NULL, cents INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS request (key TEXT NOT NULL);
"""


class Bank:
    """Pays whoever has an account: of every thousand payees, number 13 has none."""

    def __init__(self, books: Path, hang_after: int | None) -> None:
        self._books = sqlite3.connect(books, isolation_level=None)
        self._books.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + SCHEMA)
        self._until_ill = hang_after
        self.well = asyncio.Event()
        self.well.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with one request after another."""
        try:
            while line := await reader.readline():
                answer = self.pay(**json.loads(line))
                await self.well.wait()
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # who has asked is gone; what was paid is paid
        finally:
            writer.close()

    def pay(self, key: str, payee: int, cents: int) -> dict[str, str]:
        """Pay, unless the key is known: then the answer is the first one again."""
        if self._until_ill is not None:
            self._until_ill -= 1
            if self._until_ill == 0:
                self.well.clear()
        self._books.execute("INSERT INTO request VALUES (?)", (key,))
        if payee % 1000 == 13:
            return {"refused": f"payee {payee} has no account"}
        self._books.execute("INSERT OR IGNORE INTO payment VALUES (?, ?, ?)", (key, payee, cents))
        return {"paid": f"payment-{payee}"}


async def main(books: Path, port: int, hang_after: int | None = None) -> None:
    bank = Bank(books, hang_after)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, bank.well.set)
    server = await asyncio.start_server(bank.serve, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
