"""A real PostgreSQL with troth's schema: a world is put into it, one call is made, and what came of it is read.

Each in one transaction that is rolled back, so a world costs a few milliseconds and no commit. The same calls with a commit serve real
processes (`processes`). The clock of its sessions is a row, before `pg_catalog` in the search path (as in `troth.testing`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast
from uuid import UUID

import msgspec

from troth.journal import store
from troth.journal.model import CANCEL_TOPIC, Entry, Send
from troth.lab.model import LabError, Op
from troth.lab.moments import EPOCH
from troth.lab.troth.rows import TOLD, Rows, looked, without_words, wordless
from troth.lab.troth.wire import plain, real
from troth.store import arrays
from troth.store.connect import connect_blocking
from troth.store.migrate import migrate

SCHEMA = "troth"
_claimed_runs = store.claimed_runs  # the real one: `boundary` replaces it
_CLOCK = """
CREATE SCHEMA lab_time;
CREATE TABLE lab_time.moment (now float8 NOT NULL);
INSERT INTO lab_time.moment VALUES (0);
"""
_NOW = """
CREATE FUNCTION lab_time.{}() RETURNS timestamptz LANGUAGE sql {} AS
    'SELECT pg_catalog.to_timestamp({} + m.now) FROM lab_time.moment m';
"""
_CLOCKS = {"clock_timestamp": "VOLATILE", "statement_timestamp": "STABLE", "transaction_timestamp": "STABLE", "now": "STABLE"}  # fmt: skip
_TABLES = """
SELECT n.nspname || '.' || c.relname, array_agg(a.attname::text ORDER BY a.attnum), n.nspname, c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'lab_time') AND n.nspname NOT LIKE 'pg_%'
  AND c.relname NOT IN ('migration', 'schema_migration')
GROUP BY 1, 3, 4 ORDER BY 1
"""
_WRITTEN = """
CREATE FUNCTION lab_time.written() RETURNS TABLE (name text, held text) LANGUAGE plpgsql AS $$
-- The rows of the tables that this transaction has written; of a partitioned one, of the partition.
DECLARE
    part regclass;
BEGIN
    FOR name, part IN
        SELECT t.name, t.part FROM lab_time.part t WHERE pg_stat_get_xact_tuples_inserted(t.part) > 0
    LOOP
        EXECUTE format('SELECT json_agg(t ORDER BY t::text)::text FROM %s t', part) INTO held;
        RETURN NEXT;
    END LOOP;
END $$;
CREATE FUNCTION lab_time.held() RETURNS TABLE (name text, held text) LANGUAGE plpgsql AS $$
-- The rows of all tables.
DECLARE
    part regclass;
BEGIN
    FOR name, part IN SELECT t.name, t.part FROM lab_time.part t WHERE pg_relation_size(t.part) > 0 LOOP
        EXECUTE format('SELECT json_agg(t ORDER BY t::text)::text FROM %s t', part) INTO held;
        RETURN NEXT;
    END LOOP;
END $$;
CREATE TABLE lab_time.part AS
SELECT n.nspname || '.' || coalesce(p.relname, c.relname) AS name, c.oid::regclass AS part
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'lab_time', 'pg_toast');
"""
_SEQUENCES = """
SELECT s.oid::regclass::text, n.nspname || '.' || t.relname, a.attname::text
FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i') AND d.classid = 'pg_class'::regclass
JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE s.relkind = 'S'
"""


def make(url: str, name: str, seed: str, *, template: str = "template1") -> Server:
    """A new database of this name, with troth's schema and what `seed` makes."""
    session: Any
    with connect_blocking(url) as session:
        session.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        for setting in (
            "search_path = public, lab_time, pg_catalog",
            "timezone = 'UTC'",
            "jit = off",
        ):
            session.execute(f'ALTER DATABASE "{name}" SET {setting}')
    place = placed(url, name)
    if template == "template1":
        with connect_blocking(place) as session:
            session.execute(_CLOCK)
            for function, kind in _CLOCKS.items():
                session.execute(_NOW.format(function, kind, EPOCH))
        migrate(place, SCHEMA)
        with connect_blocking(place) as session:
            if seed:
                session.execute(seed)
            session.execute(_WRITTEN)
    return Server(place)


def remove(url: str, name: str) -> None:
    """Remove the database."""
    session: Any
    with connect_blocking(url) as session:
        session.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def placed(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    if "://" not in url:
        return f"{url} dbname={name}"
    head, _, query = url.partition("?")
    base, _, _ = head.rpartition("/")
    if base.endswith("/"):  # there was no database in it
        base = head
    return f"{base}/{name}" + (f"?{query}" if query else "")


class _Tx:
    """The session as troth's statements want it: asynchronous, though nothing is waited for."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def execute(self, query: Any, params: Any = None) -> _Found:
        return _Found(self._session.execute(query, params))


class _Found:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def fetchone(self) -> Any:
        return self._cursor.fetchone()

    async def fetchall(self) -> Any:
        return self._cursor.fetchall()


def _driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise LabError("a statement of troth's waits for something that the lab does not give")


class Server:
    """One session with such a database."""

    def __init__(self, url: str) -> None:
        self.url = url
        session: Any = connect_blocking(url)
        arrays.register(cast("Any", session))
        self._session: Any = session
        self._tx = cast("Any", _Tx(self._session))
        self._q = store.queries(SCHEMA)
        self._tables: dict[str, list[str]] = {}
        self._sequences: list[tuple[str, str, str]] = []
        self._calls: dict[str, Callable[..., Any]] = {
            "flush": self._flush,
            "join": self._join,
            "beat": self._beat,
            "claimed runs": self._claimed_runs,
            "look around": self._look_around,
            "start": self._start,
            "cancel": self._cancel,
            "result": self._result,
        }

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def learn(self) -> None:
        """Which tables there are, and what draws numbers for them."""
        for name, columns, *_ in self._session.execute(_TABLES).fetchall():
            self._tables[name] = looked(name, SCHEMA, list(columns))
        self._sequences = [tuple(row) for row in self._session.execute(_SEQUENCES).fetchall()]

    # ── worlds ──────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """A transaction."""
        self._session.execute("BEGIN")

    def rollback(self) -> None:
        """Nothing of it was."""
        self._session.execute("ROLLBACK")

    def commit(self) -> None:
        """All of it was."""
        self._session.execute("COMMIT")

    def load(self, tables: Rows, now: float) -> None:
        """Put a world into the empty database."""
        params: list[Any] = [now]
        steps = ["UPDATE lab_time.moment SET now = %s"]
        for name, (columns, rows) in tables.items():
            listed = _listed(columns)
            params.append(
                msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in rows]).decode()
            )
            steps.append(
                f"INSERT INTO {name} ({listed}) OVERRIDING SYSTEM VALUE SELECT {listed} FROM "
                f"json_populate_recordset(NULL::{name}, %s::json)"
            )
        parts = ", ".join(f"part_{number} AS ({step})" for number, step in enumerate(steps))
        numbers = []
        for sequence, table, column in self._sequences:
            if last := self._last(tables, table, column):
                numbers.append(f"setval('{sequence}', %s, false)")
                params.append(last + 1)
            else:
                numbers.append(f"setval('{sequence}', 1, false)")
        with self._session.pipeline():
            self._session.execute("SET LOCAL session_replication_role = replica")
            self._session.execute(f"WITH {parts} SELECT {', '.join(numbers)}", params, prepare=True)
            self._session.execute("SET LOCAL session_replication_role = origin")

    @staticmethod
    def _last(tables: Rows, table: str, column: str) -> int:
        """The largest number that was given out and of which there is a trace: of workers, also in what they left."""
        places = [(table, column)]
        if table == f"{SCHEMA}.worker":
            places += [(f"{SCHEMA}.worker_gone", "id"), (f"{SCHEMA}.mark", "worker"), (f"{SCHEMA}.run", "owner")]  # fmt: skip
        numbers = [0]
        for name, which in places:
            columns, rows = tables.get(name, ([], []))
            if which in columns:
                numbers += [row[columns.index(which)] or 0 for row in rows]
        return max(numbers)

    def look(self, *, touched: bool = False) -> Rows:
        """What is in it; *touched*: this transaction began with nothing in it, so no table but those that it has written has a row."""
        if touched:
            found = self._session.execute(
                "SELECT * FROM lab_time.written()", prepare=True
            ).fetchall()
        else:
            found = self._session.execute("SELECT * FROM lab_time.held()", prepare=True).fetchall()
        rows: Rows = {
            name: (
                self._tables[name],
                [[row[c] for c in self._tables[name]] for row in msgspec.json.decode(held)],
            )
            for name, held in found
            if held is not None and name in self._tables
        }
        return without_words(rows, SCHEMA)

    def empty(self) -> Rows:
        """Take everything out of it; what was there."""
        rows = self.look()
        with self._session.transaction():
            self._session.execute("SET LOCAL session_replication_role = replica")
            for name in rows:
                self._session.execute(f"DELETE FROM {name}")
            self._session.execute("SET LOCAL session_replication_role = origin")
        return rows

    def now(self) -> float:
        """Seconds since the lab's epoch."""
        return float(self._session.execute("SELECT now FROM lab_time.moment").fetchone()[0])

    @property
    def pid(self) -> int:
        """The process of the server that works for this session."""
        return int(self._session.info.backend_pid)

    def require_constraints(self) -> None:
        """What a commit would look at."""
        self._session.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def wait_for_the_end_of(self, processes: list[int]) -> None:
        """Wait until none of these processes of the server is left."""
        while self._session.execute(
            "SELECT 1 FROM pg_stat_activity WHERE pid = ANY (%s)", (processes,)
        ).fetchone():
            self._session.execute("SELECT pg_sleep(0.001)")

    def set_now(self, now: float) -> None:
        """Time has passed."""
        self._session.execute("UPDATE lab_time.moment SET now = %s", (now,))

    # ── calls ───────────────────────────────────────────────────────────────────────────────────

    def do(self, op: Op) -> Any:
        """Make one call; what it gives, as plain data. Raises what psycopg raises."""
        if op.handle:
            return self._statement(op)
        name = op.text.partition(":")[0]
        return plain(self._calls[name](*real(op.params)))

    def _statement(self, op: Op) -> Any:
        """A statement of a transaction step: how many rows it concerned, and those that it returned."""
        (params,) = op.params
        cursor = self._session.execute(op.text, real(params))
        rows = cursor.fetchall() if cursor.description is not None else None
        names = [column.name for column in cursor.description or ()]
        return [cursor.rowcount, names, plain(rows)]

    def _flush(self, params: Sequence[Any]) -> tuple[str, list[Any]]:
        """The reply, and with it the runs that were claimed: nothing can come between that another could notice."""
        text = str(self._session.execute(self._q.flush, params).fetchone()[0])
        claimed = [UUID(run) for run in msgspec.json.decode(text).get("claimed", ())]
        return text, self._claimed_runs(params[0], claimed) if claimed else []

    def _join(self, workflows: list[str]) -> int:
        """A worker comes. All others were silent for longer than their lease, so it takes over from them."""
        register = store.register(self._tx, self._q, "lab", executes=True, lease_s=10.0, workflows=workflows)  # fmt: skip
        worker = int(_driven(register))
        others = self._session.execute(f"SELECT id FROM {SCHEMA}.worker WHERE id <> %s ORDER BY id", (worker,))  # fmt: skip
        for (other,) in others.fetchall():
            _driven(store.takeover(self._tx, self._q, other, self._beat_of(other)))
        return worker

    def _beat_of(self, worker: int) -> int:
        row = self._session.execute(f"SELECT beat FROM {SCHEMA}.worker WHERE id = %s", (worker,))
        return int(row.fetchone()[0])

    def _beat(self, worker: int) -> None:
        store.beat(self._session, self._q, worker, 0)

    def _claimed_runs(self, worker: int, ids: list[UUID]) -> list[Any]:
        runs = _driven(_claimed_runs(self._tx, self._q, worker, ids))
        return [run._replace(entries=[_as_known(one) for one in run.entries]) for run in runs]

    def _look_around(self) -> tuple[float | None, int, bool]:
        """When the next run is due, how many have not come to an end and wait for no person, and whether there ever was one."""
        row = self._session.execute(
            f"SELECT extract(epoch FROM min(wake_at) FILTER (WHERE owner IS NULL AND wake_at < 'infinity'))::float8, "
            f"count(*) FILTER (WHERE state <> 'attention'), count(*) > 0 OR EXISTS (SELECT 1 FROM {SCHEMA}.run_history) "
            f"FROM {SCHEMA}.run"
        ).fetchone()
        return row[0], row[1], row[2]

    def _start(
        self, run: UUID, workflow: str, key: str | None, payload: bytes, digest: bytes, at: float
    ) -> Any:
        return _driven(store.start_run(self._tx, self._q, run, workflow, key, payload, digest, at))

    def _cancel(self, message: UUID, key: str) -> str:
        send = Send(message, None, key, CANCEL_TOPIC, b"null")
        return str(_driven(store.send_message(self._tx, self._q, send)))

    def _result(self, key: str) -> tuple[str, str | None, bytes | None] | None:
        """State, reason and outcome of the run of a key; None: there is none."""
        run = _driven(store.run_of_key(self._tx, self._q, key))
        if run is None:
            return None
        for ended in _driven(store.ended_runs(self._tx, self._q, [run])):
            return str(ended.state), None, ended.outcome
        state, reason = _driven(store.run_state(self._tx, self._q, run))
        return state, reason, None


def _as_known(entry: Entry) -> Entry:
    """An entry as the lab's worlds have it."""
    if entry.kind not in TOLD or entry.payload is None:
        return entry
    return entry._replace(payload=wordless(bytes(entry.payload)))


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
