"""A real SQLite database behind the table E: restore a world, repeat the open transactions, do one operation, look.

The application never touches this file. Its connections (`edge.sqlite`) ask the lab, and the lab asks here. A world's snapshot
is a copy of bytes, never a re-insertion; its identity is the logical content with row ids and sequences.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from troth.lab import moments
from troth.lab.database import Database, Done
from troth.lab.faults import LOCKING, PLAIN, is_deferred, is_pragma, takes_lock
from troth.lab.model import LabError, Observation, Op, Outcome, Refused
from troth.lab.world import encode

# the real one: while the lab works, the name in the module is `edge.sqlite`'s
_connect: Callable[..., sqlite3.Connection] = sqlite3.connect
_READS_CLOCK = re.compile(
    r"current_(timestamp|date|time)|'now'|\b(datetime|date|time|julianday|unixepoch)\(\s*\)",
    re.IGNORECASE,
)
_INSERT = re.compile(r"\s*(insert|replace|with\b.*\binsert)\b", re.IGNORECASE | re.DOTALL)
_CLOCK_FUNCTIONS = ("date", "time", "datetime", "julianday", "unixepoch", "strftime")


_UNFOLLOWED = (
    (re.compile(r"\s*(attach|detach|vacuum)\b", re.IGNORECASE), "it reaches another file"),
    (re.compile(r"\s*create\s+temp", re.IGNORECASE), "a temporary table lives as long as its connection"),
    (re.compile(r"\brandom(blob)?\s*\(", re.IGNORECASE), "the database's own randomness is not the lab's"),
    (re.compile(r"\b(last_insert_rowid|changes|total_changes)\s*\(", re.IGNORECASE),
     "it is a memory of the connection; use the cursor's lastrowid or rowcount"),
)  # fmt: skip


def unfollowed(sql: str) -> str | None:
    """Why the lab cannot follow a statement or a schema; None if it can."""
    return next((why for pattern, why in _UNFOLLOWED if pattern.search(sql)), None)


def reads_clock(sql: str) -> bool:
    """Whether the text asks the database for the time."""
    return bool(_READS_CLOCK.search(sql))


class Sqlite(Database):
    """One SQLite database of the world.

    Args:
        name: what promises call it.
        path: the file that the application opens; None stands for every file that it opens.
        seed: SQL that is executed before anything else.
    """

    def __init__(self, name: str, path: str | None, seed: str) -> None:
        super().__init__(name, seed)
        self.path = None if path is None else str(Path(path).absolute())
        self._room: Path | None = None
        self._copies = 0
        self._twins = 0
        self._twin: Path | None = None
        self._at: tuple[bytes, tuple[bytes, ...]] | None = None
        self._live: dict[tuple[int, int], sqlite3.Connection] = {}
        self._observer: sqlite3.Connection | None = None
        self._version = -1
        self._bytes: dict[bytes, bytes] = {}
        self._ticks: dict[int, int] = {}
        """By attempt: 0 is the one that acts, the others follow."""
        self._blind = False
        self._asked_time: sqlite3.Connection
        self.schema_reads_clock = False

    def opens(self, path: str) -> bool:
        """Whether a connection to this path is one to this database."""
        return self.path is None or self.path == str(Path(path).absolute())

    def initial(self) -> bytes:
        """The database after its seed."""
        self._asked_time = _connect(":memory:", check_same_thread=False)
        self._place(None)
        if self.seed:
            writer = self._open(0, {})
            writer.executescript(self.seed)
            writer.close()
        return self._look()

    def describe(self) -> str:
        """The model in words, for the verdict."""
        return f"{self.name}: SQLite {sqlite3.sqlite_version}, a local file, COMMIT is durable and its answer is not lost"

    def holds(self, opened: tuple[Op, ...]) -> bool:
        """Whether what is open can stand in the way of others: a transaction, not a mere connection or setting."""
        return any(
            one.kind == "sql" and not is_pragma(one.text) and not is_deferred(one.text)
            for one in opened
        )

    def outcomes(self, op: Op, opened: tuple[Op, ...]) -> tuple[Outcome, ...]:
        """It can be busy where SQLite takes a lock."""
        return LOCKING if takes_lock(op, opened) else PLAIN

    def perform(
        self, part: bytes, opened: tuple[Op, ...], others: tuple[tuple[Op, ...], ...], op: Op
    ) -> Done:
        """Do one operation in a world with these operations already done in open transactions, this attempt's and others'."""
        self._restore(part, (opened, *others))
        observation = self._do(0, op)
        if self._blind:
            raise Refused(
                f"{op.text!r} reads the database's clock where the lab cannot see it in the text"
            )
        if others and _is_busy(observation):
            alone = self.perform(part, opened, (), op)
            if not _is_busy(alone.observation):
                return Done(part, opened, _BUSY, tuple(range(len(others))))
            return alone
        after = self._remaining(opened, op)
        if self._changed():
            part = self._look()
            if is_pragma(op.text):
                after = opened  # it changed the file, not the connection
        self._at = (part, _encoded((after, *others)))
        return Done(part, after, observation)

    def check_change(
        self,
        before: bytes,
        after: bytes,
        mine: tuple[Op, ...],
        others: tuple[tuple[Op, ...], ...],
        op: Op,
    ) -> None:
        """Whether the lab can follow this change of what is committed.

        Raises:
            Refused: it cannot.
        """
        self.check_schema(before, after, op)
        if op.kind == "sql" and op.params[:1] == ("executescript",):
            raise Refused(
                "an attempt changes data by executescript, which commits in the middle; use execute"
            )
        if self.holds(tuple(one for one in mine if one.handle != op.handle)):
            raise Refused(
                "two transactions are open at once in one attempt; that is not explored yet"
            )
        if any(self.holds(one) for one in others):
            raise Refused(
                f"{op.text or op.kind!r} commits while another attempt reads an older snapshot "
                "(journal_mode WAL); that is not explored yet"
            )

    def with_index(self, part: bytes, sql: str) -> bytes:
        self._place(self._bytes[part])
        writer = self._open(0, {})
        try:
            writer.executescript(sql)
        except sqlite3.Error as error:
            raise LabError(f"{sql}: {error}") from error
        finally:
            writer.close()
        return self._look()

    def close(self) -> None:
        """Close every connection and remove the copies."""
        self._vacate()
        if self._room is not None:
            self._asked_time.close()
            shutil.rmtree(self._room, ignore_errors=True)
            self._room = None

    def snapshot(self, part: bytes) -> object:
        return self._bytes[part]

    def adopt(self, part: bytes, snapshot: Any) -> None:
        self._bytes.setdefault(part, snapshot)

    # ── real processes ──────────────────────────────────────────────────────────────────────────

    def twin(self, part: bytes) -> str:
        assert self._room is not None
        self._twins += 1
        place = self._room / f"twin-{self._twins}.db"
        place.write_bytes(self._bytes[part])
        self._twin = place
        return str(place)

    def twin_differs(self, part: bytes) -> bool:
        assert self._twin is not None
        self._vacate()
        self._file = self._twin
        self._observer = _connect(self._file, check_same_thread=False, isolation_level=None)
        found = self._look()
        self._vacate()
        return found != part

    def join(self, place: str) -> None:
        self._file = Path(place)
        self._observer = None
        self._live.clear()
        self._asked_time = _connect(":memory:", check_same_thread=False)

    def join_at(self, tick: int) -> None:
        self._ticks[0] = tick

    def really(self, op: Op) -> Observation:
        return self._do(0, op)

    def cut(self, handle: int) -> None:
        self._live.pop((0, handle)).close()

    def leave(self) -> None:
        for connection in self._live.values():
            connection.close()
        self._live.clear()
        self._ticks.clear()

    def serving(self) -> list[int]:
        return []  # there is no server: locks are those of the process

    def outlive(self, serving: list[int]) -> None:
        del serving

    # ── one operation on the real thing ─────────────────────────────────────────────────────────

    def _do(self, owner: int, op: Op) -> Observation:
        if op.kind == "clock":
            self._ticks[owner] = op.params[0]
            return Observation()
        if op.kind == "connect":
            made = self._live[owner, op.handle] = self._open(owner, dict(op.params))
            return Observation(made.in_transaction)
        connection = self._live[owner, op.handle]
        if op.kind == "close":
            self._live.pop((owner, op.handle)).close()
            return Observation(False)
        try:
            return self._ask(connection, op)
        except sqlite3.Error as error:
            code = (getattr(error, "sqlite_errorcode", 0), getattr(error, "sqlite_errorname", ""))
            return Observation(
                (*error.args[:1], *code, connection.in_transaction), type(error).__name__
            )

    def _ask(self, connection: sqlite3.Connection, op: Op) -> Observation:
        if op.kind == "commit":
            connection.commit()
            return Observation(connection.in_transaction)
        if op.kind == "rollback":
            connection.rollback()
            return Observation(connection.in_transaction)
        if op.kind == "setting":
            setattr(connection, op.text, op.params[0])
            return Observation(connection.in_transaction)
        method, *arguments = op.params
        cursor = getattr(connection.cursor(), method)(op.text, *arguments)
        rows = tuple(cursor.fetchall()) if cursor.description else ()
        columns = tuple(column[0] for column in cursor.description) if cursor.description else None
        inserted = (
            cursor.lastrowid if _INSERT.match(op.text) else None
        )  # else it is the connection's memory
        seen = (columns, rows, cursor.rowcount, inserted, connection.in_transaction)
        cursor.close()
        return Observation(seen)

    def _remaining(self, opened: tuple[Op, ...], op: Op) -> tuple[Op, ...]:
        if op.kind == "close":
            return tuple(other for other in opened if other.handle != op.handle)
        if op.kind in {"connect", "setting"} or is_pragma(op.text):
            return (*opened, op)
        if self._live[0, op.handle].in_transaction:
            return (*opened, op)
        return tuple(
            other
            for other in opened
            if other.handle != op.handle
            or other.kind in {"connect", "setting"}
            or is_pragma(other.text)
        )

    # ── worlds as files ─────────────────────────────────────────────────────────────────────────

    def _restore(self, part: bytes, groups: tuple[tuple[Op, ...], ...]) -> None:
        if self._at == (part, _encoded(groups)):
            return
        self._place(self._bytes[part])
        for owner, opened in enumerate(groups):
            for op in opened:
                self._do(owner, op)

    def _place(self, content: bytes | None) -> None:
        """A new file (a new inode: locks of an old one cannot linger) with this content, and nobody connected to it."""
        self._vacate()
        if self._room is None:
            memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  (a directory, not a file)
            self._room = Path(tempfile.mkdtemp(prefix="troth-lab-", dir=memory))
        self._copies += 1
        self._file = self._room / f"world-{self._copies}.db"
        if content:
            self._file.write_bytes(content)
        self._observer = _connect(self._file, check_same_thread=False, isolation_level=None)
        self._version = self._data_version()

    def _vacate(self) -> None:
        self._at = None
        self._ticks.clear()
        for connection in (*self._live.values(), self._observer):
            if connection is not None:
                connection.close()
        self._live.clear()
        if self._observer is not None:
            self._observer = None
            for leftover in self._file.parent.glob(f"{self._file.name}*"):
                leftover.unlink()

    def _data_version(self) -> int:
        assert self._observer is not None
        return int(self._observer.execute("PRAGMA data_version").fetchone()[0])

    def _changed(self) -> bool:
        try:
            version = self._data_version()
        except (
            sqlite3.OperationalError
        ):  # locked by one who wants to commit and waits: nothing has changed yet
            return False
        changed, self._version = version != self._version, version
        return changed

    def _look(self) -> bytes:
        """Read the committed content, keep its bytes, and return the part that names it."""
        observer = self._observer
        assert observer is not None
        schema = observer.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        ).fetchall()
        tables = [name for kind, name, _ in schema if kind == "table"]
        if observer.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"
        ).fetchone():
            tables.append("sqlite_sequence")
        if why := next(filter(None, (unfollowed(sql) for _, _, sql in schema)), None):
            raise Refused(f"the schema of {self.name} cannot be followed: {why}")
        part = encode({
            "versions": [observer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")],
            "schema": [sql for _, _, sql in schema],
            "tables": {name: self._rows(observer, name) for name in dict.fromkeys(tables)},
        })  # fmt: skip
        self.schema_reads_clock = any(reads_clock(sql) for _, _, sql in schema)
        empty = observer.execute("PRAGMA page_count").fetchone()[0] == 0
        self._bytes.setdefault(part, b"" if empty else observer.serialize())
        self._version = self._data_version()
        return part

    def _rows(
        self, observer: sqlite3.Connection, table: str
    ) -> tuple[list[str], list[list[object]]]:
        try:
            found = observer.execute(f'SELECT rowid, * FROM "{table}" ORDER BY rowid')
            columns = [column[0] for column in found.description[1:]]
        except sqlite3.OperationalError:  # WITHOUT ROWID: no two rows are the same
            found = observer.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in found.description]
        rows = [list(row) for row in found]
        if len(columns) == len(found.description):
            rows.sort(key=encode)
        for index, column in enumerate(columns, start=-len(columns)):
            if f"{table}.{column}" in self.ignored:
                for row in rows:
                    row[index] = None
        return columns, rows

    # ── connections whose clock is the lab's ────────────────────────────────────────────────────

    def _open(self, owner: int, options: dict[str, Any]) -> sqlite3.Connection:
        connection = _connect(self._file, timeout=0, check_same_thread=False, **options)
        for name in _CLOCK_FUNCTIONS:
            connection.create_function(name, -1, self._timed(owner, name), deterministic=True)
        for name, form in (
            ("current_timestamp", "datetime"),
            ("current_date", "date"),
            ("current_time", "time"),
        ):
            connection.create_function(name, 0, self._now(owner, form), deterministic=True)
        return connection

    def _timed(self, owner: int, name: str) -> Callable[..., Any]:
        def function(*arguments: object) -> object:
            given = list(arguments) or ["now"]
            at = [self._instant(owner) if one == "now" else one for one in given]
            if name == "strftime" and len(at) == 1:
                at.append(self._instant(owner))
            marks = ", ".join("?" * len(at))
            return self._asked_time.execute(f"SELECT {name}({marks})", at).fetchone()[0]

        return function

    def _now(self, owner: int, form: str) -> Callable[[], Any]:
        def function() -> object:
            return self._asked_time.execute(
                f"SELECT {form}(?)", (self._instant(owner),)
            ).fetchone()[0]

        return function

    def _instant(self, owner: int) -> str:
        tick = self._ticks.get(owner)
        if tick is None:
            self._blind = True  # raising here would become an error of the application's statement
        at = datetime.fromtimestamp(moments.instant(tick or 0), UTC)
        return at.strftime("%Y-%m-%d %H:%M:%S")


def _encoded(groups: tuple[tuple[Op, ...], ...]) -> tuple[bytes, ...]:
    return tuple(
        encode([[op.kind, op.target, op.text, op.params, op.handle] for op in group])
        for group in groups
    )


def _is_busy(observation: Observation) -> bool:
    return observation.error == "OperationalError" and observation.value[1] == sqlite3.SQLITE_BUSY


_BUSY = Observation(("database is locked", sqlite3.SQLITE_BUSY, "SQLITE_BUSY"), "OperationalError")
"""What a connection is told if the one that it waits for waits for it."""
