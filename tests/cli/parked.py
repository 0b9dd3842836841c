"""Runs that stand in attention, put there by hand: what the records say, without a worker that wrote them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from troth.base import codec, ids
from troth.journal.model import Kind

SENT_AT = 1_700_000_000.0


def in_doubt(path: str = "refund", **more: Any) -> dict[str, Any]:
    """The detail of a run that is in doubt about an effect."""
    return {
        "at": path,
        "message": f"{path} may or may not have happened: no answer",
        "provider": "bank",
        "key": f"key/{path}",
        "sent": {"amount": 700},
        "sent_at": [SENT_AT],
        "answers": ["no answer"],
        "stake": "EUR 7.00",
        "probed": True,
        "probes": [{"at": SENT_AT + 9, "answer": "error", "message": "503"}],
        "settled_by": 1,
    } | more


@dataclass
class Journal:
    """Entries for one run, a second apart, in the order in which they are added."""

    run: UUID = field(default_factory=ids.new_id)
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(
        self,
        path: str,
        kind: Kind,
        said: object = None,
        *,
        attempt: int = 0,
        seq: int | None = None,
        ok: bool | None = None,
        digest: bytes | None = None,
    ) -> Journal:
        at = SENT_AT + len(self.rows)
        payload = codec.encode(said)
        self.rows.append((self.run, path, int(kind), attempt, seq, ok, digest, payload, at))
        return self

    def done(self, path: str, seq: int, value: object = None) -> Journal:
        """The answer of a step that needed no intent."""
        return self.add(path, Kind.RESULT, value, seq=seq, ok=True)

    def sent(self, path: str, attempt: int = 1, digest: bytes = b"digest") -> Journal:
        """An effect is about to be sent."""
        return self.add(path, Kind.INTENT, {"amount": 700}, attempt=attempt, digest=digest)

    def lost(self, path: str, attempt: int = 1) -> Journal:
        """Nobody knows what became of it."""
        said = {"outcome": "unknown", "message": "no answer"}
        return self.add(path, Kind.ATTEMPT, said, attempt=attempt)


def park(
    cell: tuple[str, str],
    journal: Journal,
    reason: str,
    detail: dict[str, Any],
    *,
    workflow: str = "nobody_executes_it",
) -> UUID:
    """A run with this journal, in attention."""
    url, schema = cell
    with psycopg.connect(url) as connection:
        connection.execute(
            f"INSERT INTO {schema}.run (id, workflow, key, input, state, claim, wake_at, starts_at, reason, detail) "
            "VALUES (%s, %s, %s, '{}', 'ready', 1, 'infinity', to_timestamp(%s), %s, %s)",
            (
                *(journal.run, workflow, f"key:{journal.run}", SENT_AT, reason),
                json.dumps(detail).encode(),
            ),
        )
        connection.execute(
            f"UPDATE {schema}.run SET state = 'attention' WHERE id = %s", (journal.run,)
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {schema}.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s))",
                journal.rows,
            )
    return journal.run


def recorded(cell: tuple[str, str], run: UUID, *kinds: Kind) -> list[tuple[Any, ...]]:
    """(path, kind, attempt, seq, ok, digest, what it says) of a run's entries, in the order of their times."""
    url, schema = cell
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            f"SELECT path, kind, attempt, seq, ok, digest, payload FROM {schema}.journal "
            "WHERE run_id = %s AND kind = ANY (%s) ORDER BY at, path",
            (run, [int(kind) for kind in kinds or Kind]),
        ).fetchall()
    return [(*row[:6], codec.decode(row[6])) for row in rows]


def happen(
    cell: tuple[str, str], run: UUID, path: str, kind: Kind, said: object, **more: Any
) -> None:
    """Something is recorded now, as a worker would."""
    url, schema = cell
    columns = {"attempt": 1, "seq": None, "ok": None} | more
    with psycopg.connect(url) as connection:
        connection.execute(
            f"INSERT INTO {schema}.journal (run_id, path, kind, attempt, seq, ok, payload, at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp())",
            (run, path, int(kind), *columns.values(), codec.encode(said)),
        )


def put_back(cell: tuple[str, str], run: UUID, detail: dict[str, Any]) -> None:
    """A worker had the run, and parks it again, in doubt."""
    url, schema = cell
    with psycopg.connect(url) as connection:
        connection.execute(
            f"UPDATE {schema}.run SET state = 'attention', wake_at = 'infinity', reason = 'in_doubt', detail = %s "
            "WHERE id = %s",
            (json.dumps(detail).encode(), run),
        )
