"""Messages in one SQLite file; each is on the disk before the sender hears 250."""

import sqlite3
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id  TEXT NOT NULL,
    sender      TEXT NOT NULL,
    subject     TEXT NOT NULL,
    body        TEXT NOT NULL,
    received_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS recipient (
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    address TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (address, message)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS recipient_of_message ON recipient (message);
"""


@dataclass(frozen=True)
class Message:
    """A message as received. `to` is the envelope's; Message-ID is the sender's, or empty."""

    message_id: str
    sender: str
    to: tuple[str, ...]
    subject: str
    body: str


def read_message(sender: str, to: tuple[str, ...], content: bytes) -> Message:
    """The message in the bytes that SMTP carried."""
    parsed = message_from_bytes(content, policy=policy.default)
    text = parsed.get_body(("plain", "html"))
    return Message(
        message_id=str(parsed.get("Message-ID", "")).strip(),
        sender=sender,
        to=to,
        subject=str(parsed.get("Subject", "")),
        body=text.get_content().replace("\r\n", "\n") if text is not None else "",
    )


class Store:
    """All messages; two with one Message-ID are two. Raises `sqlite3.Error` if it cannot be used."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=1)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # outlives a killed process, not a power cut
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def add(self, message: Message) -> None:
        """Store durably."""
        fields = asdict(message) | {"received_at": datetime.now(UTC).isoformat()}
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            number = self._db.execute(
                "INSERT INTO message (message_id, sender, subject, body, received_at)"
                " VALUES (:message_id, :sender, :subject, :body, :received_at)",
                fields,
            ).lastrowid
            self._db.executemany(
                "INSERT OR IGNORE INTO recipient (message, address) VALUES (?, ?)",
                [(number, address) for address in message.to],
            )

    def messages(self, to: str | None = None) -> list[dict[str, Any]]:
        """Messages in order of arrival; with `to`, those that this address got."""
        rows = self._db.execute(
            "SELECT id, message_id, sender, subject, body, received_at,"
            " (SELECT group_concat(address, ' ') FROM recipient WHERE message = id)"
            " FROM message WHERE ?1 IS NULL"
            " OR id IN (SELECT message FROM recipient WHERE address = ?1) ORDER BY id",
            (to,),
        )
        names = ("id", "message_id", "from", "subject", "body", "received_at")
        return [
            {**dict(zip(names, row[:-1], strict=True)), "to": (row[-1] or "").split()}
            for row in rows
        ]

    def clear(self) -> int:
        """Delete all; returns how many there were."""
        return self._db.execute("DELETE FROM message").rowcount
