"""The provider's truth: one SQLite file with one writer, which commits for all requests of a moment.

All methods run on the event loop's thread. Nothing comes between the statements of one request, and
every commit is synced to the disk before any of its answers leaves.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from examples.signup.provider.idempotency import Claim, Saved

Json = dict[str, Any]

INDEXED: Mapping[str, tuple[str, ...]] = {
    "customer": ("email", "name", "phone"),
    "product": ("active", "name", "description"),
    "price": ("active", "currency", "lookup_key", "product", "type"),
    "payment_method": ("customer", "type"),
    "subscription": ("customer", "status"),
    "payment_intent": ("amount", "currency", "customer", "status"),
    "charge": ("amount", "currency", "customer", "payment_intent", "status"),
    "refund": ("charge", "payment_intent"),
    "balance_transaction": ("currency", "source", "status", "type"),
    "payout": ("status",),
    "invoice": ("customer", "status", "parent.subscription_details.subscription"),
    "webhook_endpoint": ("status",),
    "event": ("type", "pending_webhooks"),
}
"""The fields of each type that lists filter by and searches look for, beside metadata and marks."""

BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True)
class Query:
    """Which objects: every field has one of its values. Deleted objects are never found."""

    kind: str
    terms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    created: Mapping[str, int] = field(default_factory=dict)
    before: int | None = None
    after: int | None = None
    limit: int = 10


class Store:
    """Objects, saved answers and counts. Raises `sqlite3.Error` if the file cannot be used."""

    def __init__(self, path: Path, *, bank: bool = False) -> None:
        """*bank*: whether there is one, so that money can be paid out."""
        self.bank = bank
        self._db = sqlite3.connect(path, isolation_level=None, timeout=1)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # outlives a killed process, not a power cut
        self._db.executescript((Path(__file__).with_name("schema.sql")).read_text())
        self._batch: asyncio.Future[None] | None = None
        (self._offset,) = self._db.execute('SELECT "offset" FROM clock').fetchone()

    def close(self) -> None:
        self._commit()
        self._db.close()

    # -- transactions ----------------------------------------------------------------------------

    @contextmanager
    def work(self) -> Iterator[None]:
        """Everything inside happens together or not at all. It is on the disk after `durable()`."""
        self._open_batch()
        self._db.execute("SAVEPOINT request")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK TO request")
            raise
        finally:
            self._db.execute("RELEASE request")

    def mark(self) -> None:
        """Inside `work`: remember this point for `back_to_mark`."""
        self._db.execute("SAVEPOINT mark")

    def back_to_mark(self) -> None:
        self._db.execute("ROLLBACK TO mark")

    async def durable(self) -> None:
        """Return when all work so far is on the disk; no answer may leave before.

        Requests that the event loop handles in one turn share one commit.
        """
        if self._batch is not None:
            await asyncio.shield(self._batch)

    def _open_batch(self) -> None:
        if self._batch is None:
            loop = asyncio.get_running_loop()
            self._batch = loop.create_future()
            self._db.execute("BEGIN IMMEDIATE")
            loop.call_soon(self._commit)

    def _commit(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._db.execute("ROLLBACK")
            batch.set_exception(error)
        else:
            batch.set_result(None)

    # -- the clock -------------------------------------------------------------------------------

    def now(self) -> int:
        """Seconds since 1970 by the provider's clock."""
        return int(time.time()) + int(self._offset)

    def set_offset(self, seconds: int) -> None:
        self._db.execute('UPDATE clock SET "offset" = ?', (seconds,))
        self._offset = seconds

    @property
    def offset(self) -> int:
        return int(self._offset)

    def schedule(self, ident: str, what: str, at: int | None) -> None:
        """Something is to happen to an object at this time, and no other; None for never."""
        if at is None:
            self._db.execute("DELETE FROM due WHERE object = ? AND what = ?", (ident, what))
        else:
            self._db.execute("INSERT OR REPLACE INTO due VALUES (?, ?, ?)", (ident, what, at))

    def next_due(self) -> tuple[str, str, int] | None:
        """What is the first to be due by now: the object, what happens, and when."""
        row: tuple[str, str, int] | None = self._db.execute(
            "SELECT object, what, at FROM due WHERE at <= ? ORDER BY at, object, what LIMIT 1",
            (self.now(),),
        ).fetchone()
        return row

    # -- objects ---------------------------------------------------------------------------------

    def insert(self, thing: Json, idempotency_key: str | None) -> None:
        seq = self._db.execute(
            "INSERT INTO object (id, type, created, idempotency_key, body) VALUES (?, ?, ?, ?, ?)",
            (
                thing["id"],
                thing["object"],
                thing["created"],
                idempotency_key,
                json.dumps(thing),
            ),
        ).lastrowid
        self._index(seq, thing)

    def update(self, thing: Json, *, deleted: bool = False) -> None:
        (seq,) = self._db.execute(
            "UPDATE object SET body = ?, deleted = ? WHERE id = ? RETURNING seq",
            (json.dumps(thing), deleted, thing["id"]),
        ).fetchone()
        self._db.execute("DELETE FROM term WHERE seq = ? AND NOT mark", (seq,))
        self._index(seq, thing)

    def _index(self, seq: int | None, thing: Json) -> None:
        kind = thing["object"]
        values = [(name, inside(thing, name)) for name in INDEXED[kind]]
        terms = [(name, value) for name, value in values if value is not None]
        terms += [(f"metadata.{name}", value) for name, value in thing.get("metadata", {}).items()]
        self._db.executemany(
            "INSERT INTO term (type, field, value, seq) VALUES (?, ?, ?, ?)",
            [(kind, name, term(value), seq) for name, value in terms],
        )

    def get(self, kind: str, ident: str) -> tuple[Json, bool] | None:
        """The object and whether it was deleted."""
        row = self._db.execute(
            "SELECT body, deleted FROM object WHERE id = ? AND type = ?", (ident, kind)
        ).fetchone()
        return (json.loads(row[0]), bool(row[1])) if row else None

    def seq(self, kind: str, ident: str) -> int | None:
        """The object's place in the order of creation."""
        row = self._db.execute(
            "SELECT seq FROM object WHERE id = ? AND type = ?", (ident, kind)
        ).fetchone()
        return int(row[0]) if row else None

    def find(self, query: Query) -> tuple[list[Json], bool]:
        """A page, newest first, and whether there is more in the direction of paging.

        With `after`, the page is the one that ends just above that place.
        """
        where = ["type = ?", "NOT deleted"]
        values: list[Any] = [query.kind]
        for name, wanted in query.terms.items():
            marks = ", ".join("?" * len(wanted))
            where.append(
                "seq IN (SELECT t.seq FROM term t"
                f" WHERE t.type = ? AND t.field = ? AND t.value IN ({marks}))"
            )
            values += [query.kind, name, *wanted]
        for bound, second in query.created.items():
            where.append(f"created {BOUNDS[bound]} ?")
            values.append(second)
        if query.before is not None:
            where.append("seq < ?")
            values.append(query.before)
        if query.after is not None:
            where.append("seq > ?")
            values.append(query.after)
        order = "DESC" if query.after is None else "ASC"
        rows = self._db.execute(
            f"SELECT body FROM object WHERE {' AND '.join(where)} ORDER BY seq {order} LIMIT ?",
            (*values, query.limit + 1),
        ).fetchall()
        page = [json.loads(body) for (body,) in rows[: query.limit]]
        return (page if query.after is None else page[::-1]), len(rows) > query.limit

    # -- money on its way out --------------------------------------------------------------------

    def mark_as(self, kind: str, idents: Sequence[str], name: str, value: str) -> None:
        """Let lists find these objects by something that the objects do not show."""
        self._db.executemany(
            "INSERT INTO term (type, field, value, seq, mark)"
            " SELECT type, ?, ?, seq, 1 FROM object WHERE type = ? AND id = ?",
            [(name, value, kind, ident) for ident in idents],
        )

    def marked(self, kind: str, name: str) -> set[str]:
        """The ids of all objects of a type that have this mark."""
        rows = self._db.execute(
            "SELECT o.id FROM term t JOIN object o USING (seq)"
            " WHERE t.type = ? AND t.field = ? AND t.mark",
            (kind, name),
        )
        return {ident for (ident,) in rows}

    def order_wire(self, payout: str) -> None:
        """Have the money of a payout sent to the bank; `wires` does."""
        self._db.execute("INSERT INTO wire (payout) VALUES (?)", (payout,))

    def next_wire(self) -> tuple[str, bool] | None:
        """The oldest wire that the bank has not answered, and whether it may have been sent before."""
        row = self._db.execute(
            "SELECT payout, tried FROM wire WHERE NOT done ORDER BY rowid LIMIT 1"
        ).fetchone()
        return (row[0], bool(row[1])) if row else None

    def wire_tried(self, payout: str) -> None:
        self._db.execute("UPDATE wire SET tried = 1 WHERE payout = ?", (payout,))

    def wire_done(self, payout: str) -> None:
        self._db.execute("UPDATE wire SET done = 1 WHERE payout = ?", (payout,))

    def wires(self) -> Json:
        """How many the bank has answered about, and how many not; of these, for how many an attempt has begun."""
        done, waiting, tried = self._db.execute(
            "SELECT coalesce(sum(done), 0), coalesce(sum(NOT done), 0),"
            " coalesce(sum(NOT done AND tried), 0) FROM wire"
        ).fetchone()
        return {"done": done, "waiting": waiting, "tried": tried}

    def wire_waits(self, payout: str) -> bool:
        row = self._db.execute(
            "SELECT 1 FROM wire WHERE payout = ? AND NOT done", (payout,)
        ).fetchone()
        return row is not None

    # -- webhooks --------------------------------------------------------------------------------

    def keep_secret(self, endpoint: str, secret: str) -> None:
        self._db.execute("INSERT INTO secret VALUES (?, ?)", (endpoint, secret))

    def secret(self, endpoint: str) -> str:
        (secret,) = self._db.execute(
            "SELECT secret FROM secret WHERE endpoint = ?", (endpoint,)
        ).fetchone()
        return str(secret)

    def enqueue(self, event: str, endpoints: Iterable[str]) -> None:
        self._db.executemany(
            "INSERT INTO delivery (event, endpoint) VALUES (?, ?)",
            [(event, endpoint) for endpoint in endpoints],
        )

    @property
    def db(self) -> sqlite3.Connection:
        """For the statements of `outgoing`. Writes belong inside `work`."""
        return self._db

    # -- idempotency keys ------------------------------------------------------------------------

    def saved(self, claim: Claim) -> Saved | None:
        row = self._db.execute(
            "SELECT endpoint, fingerprint, status, body, request_id, created FROM answer"
            " WHERE api_key = ? AND key = ?",
            (claim.api_key, claim.key),
        ).fetchone()
        return Saved(*row) if row else None

    def save(self, claim: Claim, saved: Saved) -> None:
        """Remember the answer; one that outlived its key is replaced."""
        self._db.execute(
            "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (claim.api_key, claim.key, *astuple(saved)),
        )

    # -- what happened ---------------------------------------------------------------------------

    def count(self, endpoint: str, did: str, told: str) -> None:
        self._db.execute(
            "INSERT INTO request VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
            (endpoint, did, told),
        )

    def truth(self, kind: str | None = None) -> Json:
        """Everything an auditor may want, deleted objects included, oldest first."""
        objects: dict[str, Json] = {one: {"count": 0, "rows": []} for one in INDEXED}
        if kind is not None:
            objects = {kind: objects[kind]}
        for found, deleted, key, body in self._db.execute(
            "SELECT type, deleted, idempotency_key, body FROM object"
            " WHERE ?1 IS NULL OR type = ?1 ORDER BY seq",
            (kind,),
        ):
            thing = json.loads(body)
            objects[found]["count"] += 1
            objects[found]["rows"].append(
                {
                    "id": thing["id"],
                    "deleted": bool(deleted),
                    "idempotency_key": key,
                    "metadata": thing.get("metadata", {}),
                    "object": thing,
                }
            )
        requests = self._db.execute(
            "SELECT endpoint, did, told, count FROM request ORDER BY endpoint, did, told"
        )
        names = ("endpoint", "did", "told", "count")
        return {
            "objects": objects,
            "requests": [dict(zip(names, row, strict=True)) for row in requests],
        }


def inside(thing: Json, path: str) -> Any:
    """The value at a path like `parent.subscription_details.subscription`."""
    value: Any = thing
    for name in path.split("."):
        value = value[name]
    return value


def term(value: Any) -> str:
    """A value as the index spells it, which is as a form or a search query spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
