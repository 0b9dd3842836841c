"""A real PostgreSQL behind the table E: restore a world, repeat what is open, do one operation, look.

The application's connections (`edge.psycopg`) ask the lab, and the lab asks a database of its own on the
server that the test names. A transaction that is open is repeated statement by statement, and must observe again what it has
observed. Plain reads in READ COMMITTED are not repeated: they leave nothing behind.
"""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime
from typing import Any

from troth.lab import moments
from troth.lab.database import Database, Done
from troth.lab.libpq import Session, Waiting, conninfo_for
from troth.lab.model import LabError, Observation, Op, Outcome, Refused
from troth.lab.postgres_catalog import Catalog, set_to, value_of
from troth.lab.postgres_opened import aborted, encoded, remaining, statement_of
from troth.lab.postgres_rules import (
    DEADLOCK,
    defines,
    draws,
    is_plain_read,
    outcomes_of,
    reads_clock,
    reads_others,
    unfollowed,
    with_labs_clock,
)
from troth.lab.world import decode, encode

_numbers = itertools.count(1)


class Postgres(Database):
    """One PostgreSQL database of the world.

    Args:
        name: what promises call it.
        url: a server on which the lab may create a database of its own; every connection of the application goes there.
        seed: SQL that is executed before anything else.
    """

    def __init__(self, name: str, url: str, seed: str) -> None:
        super().__init__(name, seed)
        self.url = url
        self._scratch = ""
        self._server: Session | None = None
        self._monitor: Session | None = None
        self._free: list[Session] = []
        self._live: dict[tuple[int, int], Session] = {}
        self._at: tuple[bytes, bytes] | None = None
        self._committed = b""
        self._rows: dict[bytes, dict[str, list[list[str | None]]]] = {}
        self._ticks: dict[int, int] = {}
        self._twin: Postgres | None = None
        self._real = ""
        self._slack: dict[bytes, bool] = {}
        self._described: dict[tuple[str, tuple[int, ...]], Observation] = {}
        self._catalog = Catalog()

    @property
    def schema_reads_clock(self) -> bool:
        """Whether a default or a function asks for the time."""
        return self._catalog.reads_clock

    def initial(self, template: str = "template1") -> bytes:
        self.close()
        self._described.clear()
        self._server = Session(self.url)
        self._scratch = f"troth_lab_{os.getpid()}_{next(_numbers)}"
        self._server.run(f'CREATE DATABASE "{self._scratch}" TEMPLATE "{template}"')
        monitor = self._monitor = self._connect()
        monitor.run(_CLOCK)
        if self.seed:
            monitor.run(with_labs_clock(self.seed))
        return self._look()

    def describe(self) -> str:
        assert self._monitor is not None
        version = self._monitor.run("SHOW server_version")[0][0][0]
        return (
            f"{self.name}: PostgreSQL {version}, READ COMMITTED, COMMIT is durable; a connection that is lost while it commits has "
            "committed by then, or never will; rows without ORDER BY come in the order in which they were written"
        )

    def close(self) -> None:
        for session in (*self._live.values(), *self._free, self._monitor):
            if session is not None:
                session.close()
        self._live.clear()
        self._free.clear()
        self._monitor = self._at = None
        if self._twin is not None:
            self._twin.close()
            self._twin = None
        if self._server is not None:
            self._server.run(f'DROP DATABASE IF EXISTS "{self._scratch}" WITH (FORCE)')
            self._server.close()
            self._server = None

    def holds(self, opened: tuple[Op, ...]) -> bool:
        return any(op.kind == "held" and op.text for op in opened)

    def outcomes(self, op: Op, opened: tuple[Op, ...]) -> tuple[Outcome, ...]:
        wrote = any(one.kind == "held" and one.text and one.handle == op.handle for one in opened)
        return outcomes_of(op, wrote=wrote)

    def perform(
        self, part: bytes, opened: tuple[Op, ...], others: tuple[tuple[Op, ...], ...], op: Op
    ) -> Done:
        self._restore(part, (opened, *others))
        sequences = decode(part)["sequences"]
        seen = self._do(0, op)
        if isinstance(seen, Waiting):
            owners = {session.pid: owner for (owner, _), session in self._live.items()}
            blockers = sorted({owners[pid] - 1 for pid in seen.pids if owners[pid] > 0})
            self._vacate()
            self._set_sequences(sequences)  # it has drawn before it waited
            if not blockers:
                raise Refused(f"{op.text!r} waits for another connection of the same attempt")
            return Done(part, aborted(opened, op), DEADLOCK, tuple(blockers))
        if op.kind == "sql" and draws(op.text):
            self._catalog.return_unseen(self._session(0, op.handle), self._seat(), sequences, seen)
        if op.kind not in {"connect", "clock"} and not (
            op.kind == "sql" and is_plain_read(op.text)
        ):
            committed = [one.text for one in opened if op.kind == "commit" and one.kind == "held"]
            asked = [op.text] if op.kind == "sql" else []
            part = self._look(defines=any(map(defines, (*committed, *asked))))
        reached = decode(part)["sequences"]
        drawn = {name: sequences[name] for name in sequences if sequences[name] != reached[name]}
        after = remaining(opened, op, seen, drawn)
        self._at = (part, encoded((after, *others)))
        return Done(part, after, seen)

    def check_change(
        self,
        before: bytes,
        after: bytes,
        mine: tuple[Op, ...],
        others: tuple[tuple[Op, ...], ...],
        op: Op,
    ) -> None:
        self.check_schema(before, after, op)
        if decode(before)["tables"] == decode(after)["tables"]:
            return
        beside = [one for one in mine if one.handle != op.handle]
        for one in (*beside, *itertools.chain.from_iterable(others)):
            if one.kind == "held" and one.params[0].get("snapshot"):
                raise Refused(
                    f"{op.text or op.kind!r} commits while another transaction keeps an older snapshot (REPEATABLE READ or "
                    "SERIALIZABLE); that is not explored yet"
                )
            if one.kind == "held" and reads_others(one.text):
                raise Refused(
                    f"{op.text or op.kind!r} commits while {one.text!r}, which reads other rows, is not committed; "
                    "that is not explored yet"
                )

    def describe_statement(
        self, text: str, types: tuple[int, ...], handle: int, *, changing: bool
    ) -> Observation:
        """What a statement takes and returns. `changing`: by this connection, the schema may just have been changed."""
        if changing:
            return self._live.get((0, handle), self._seat()).describe(text, types)
        if (text, types) not in self._described:
            self._described[text, types] = self._seat().describe(text, types)
        return self._described[text, types]

    draws_numbers = True
    has_row_locks = True

    def has_slack(self, part: bytes) -> bool:
        """Whether a sequence is further than its column."""
        if part not in self._slack:
            self._slack[part] = self.freed(part, frozenset()) != part
        return self._slack[part]

    def freed(self, part: bytes, traces: frozenset[int]) -> bytes:
        """The part with sequences set back to the last value of which there is a trace."""
        data = decode(part)
        if not self._catalog.free(data, traces):
            return part
        freed = encode(data)
        self._rows.setdefault(freed, self._rows[part])
        return freed

    def snapshot(self, part: bytes) -> object:
        return self._rows[part]

    def adopt(self, part: bytes, snapshot: Any) -> None:
        self._rows.setdefault(part, snapshot)

    # ── real processes ──────────────────────────────────────────────────────────────────────────

    def twin(self, part: bytes) -> str:
        if self._twin is None:
            self._vacate()
            for session in (*self._free, self._seat()):  # whom PostgreSQL copies must be alone
                session.close()
            self._free.clear()
            self._twin = Postgres(self.name, self.url, "")
            self._twin.ignored = self.ignored
            self._twin.initial(self._scratch)
            self._monitor = self._connect()
        self._twin.become(self, part)
        return self._twin.place

    @property
    def place(self) -> str:
        """How to reach it."""
        return conninfo_for(self.url, self._scratch)

    def become(self, other: Postgres, part: bytes) -> None:
        """Hold the content that another has for a part."""
        self._vacate()
        self._look()
        self._rows.setdefault(part, other.rows_of(part))
        self._place(part)
        self._set_sequences(decode(part)["sequences"])

    def rows_of(self, part: bytes) -> dict[str, list[list[str | None]]]:
        """The rows of a part as they lie."""
        return self._rows[part]

    def twin_differs(self, part: bytes) -> bool:
        assert self._twin is not None
        return self._twin.now() != part

    def now(self) -> bytes:
        """What is committed, read again."""
        return self._look(defines=False)

    def join(self, place: str) -> None:
        self._live, self._free, self._ticks, self._described = {}, [], {}, {}
        self._real = place
        self._monitor = Session(place)
        self._catalog.read(self._monitor)

    def join_at(self, tick: int) -> None:
        self._ticks[0] = tick

    def really(self, op: Op) -> Observation:
        before = self._catalog.contents(self._seat())[1] if draws(op.text) else {}
        seen = self._do(0, op)
        if isinstance(seen, Waiting):
            raise Refused(f"{op.text!r} waits, which the tables did not say")
        if op.kind == "sql" and draws(op.text):
            self._catalog.return_unseen(self._session(0, op.handle), self._seat(), before, seen)
        return seen

    def cut(self, handle: int) -> None:
        if session := self._live.pop((0, handle), None):
            self._end([session])

    def leave(self) -> None:
        self._end([*self._live.values()])
        self._live.clear()
        self._ticks.clear()

    def _end(self, sessions: list[Session]) -> None:
        pids = [one.pid for one in sessions]
        for session in sessions:
            session.close()
        self._seat().outlive(pids)

    def serving(self) -> list[int]:
        return [one.pid for one in (*self._live.values(), *self._free, self._seat())]

    def outlive(self, serving: list[int]) -> None:
        assert self._twin is not None
        self._twin._seat().outlive(serving)  # noqa: SLF001  (of the same class)

    # ── one operation on the real thing ─────────────────────────────────────────────────────────

    def _do(self, owner: int, op: Op) -> Observation | Waiting:
        if op.kind == "clock":
            self._ticks[owner] = op.params[0]
            return Observation()
        if op.kind == "connect":
            return Observation(("I",))
        if op.kind == "close":
            if session := self._live.pop((owner, op.handle), None):
                session.reset()
                self._free.append(session)
            return Observation(("I",))
        text = {"commit": "COMMIT", "rollback": "ROLLBACK"}.get(op.kind) or op.text
        params = op.params if op.kind == "sql" else ()
        if why := unfollowed(text):
            raise Refused(f"{text!r}: {why}")
        lasts = not is_plain_read(text) or bool(self._ticks)
        statement = statement_of(with_labs_clock(text), params)._replace(lasts=lasts)
        session = self._session(owner, op.handle)
        if self._catalog.reads_clock or reads_clock(text):
            self._show_clock(session, owner)
        ours = frozenset(one.pid for one in self._live.values())
        return session.ask(statement, self._seat(), ours)

    def _show_clock(self, session: Session, owner: int) -> None:
        if owner not in self._ticks:
            raise Refused("the database's clock is read where the lab cannot see it in the text")
        at = datetime.fromtimestamp(moments.instant(self._ticks[owner]), UTC).isoformat()
        if session.status != "E":
            session.run(f"SELECT set_config('troth_lab.now', '{at}', false)")

    # ── worlds in one real database ─────────────────────────────────────────────────────────────

    def _restore(self, part: bytes, groups: tuple[tuple[Op, ...], ...]) -> None:
        if self._at == (part, encoded(groups)):
            return
        difference = "nothing"
        for order in itertools.permutations(range(len(groups))):
            self._vacate()
            self._place(part)
            for owner, group in enumerate(groups):
                for op in group:
                    if op.kind == "clock":
                        self._ticks[owner] = op.params[0]
            found = next(filter(None, (self._repeat(n, groups[n]) for n in order)), None)
            if found is None:
                if any(op.kind == "held" for group in groups for op in group):
                    self._set_sequences(decode(part)["sequences"])
                self._at = (part, encoded(groups))
                return
            difference = found
        raise Refused(
            f"{difference!r}, in a transaction that is open, does something else when it is repeated beside what has been committed "
            "since; that is not explored yet"
        )

    def _repeat(self, owner: int, opened: tuple[Op, ...]) -> str | None:
        """Do again what is open. The statement that did something else, if one did."""
        for op in opened:
            if op.kind != "held":
                continue
            what = op.params[0]
            session = self._session(owner, op.handle)
            if "begin" in what:
                session.run(what["begin"])
                if what.get("failed"):
                    session.pgconn.exec_(b"SELECT 1 / 0")
                continue
            if what["sequences"]:
                self._set_sequences(what["sequences"])
            again = self._do(owner, Op(what["kind"], self.name, op.text, what["params"], op.handle))
            if isinstance(again, Waiting):
                return op.text
            value, error = what["seen"]
            inside = (
                1 if what.get("session") else 0
            )  # it may have been in a transaction that is over
            if encode([again.value[inside:], again.error]) != encode([value[inside:], error]):
                return op.text
        return None

    def _vacate(self) -> None:
        self._at = None
        self._ticks.clear()
        for session in self._live.values():
            session.reset()
            self._free.append(session)
        self._live.clear()

    def _place(self, part: bytes) -> None:
        """Make the committed content that of the part."""
        if part == self._committed:
            return
        now, wanted = decode(self._committed), decode(part)
        changed = [
            name for name in wanted["tables"] if wanted["tables"][name] != now["tables"].get(name)
        ]
        rows = self._rows[part]
        statements = [self._catalog.refill(name, rows[name]) for name in changed]
        script = [set_to(wanted["sequences"])] if wanted["sequences"] else []
        if statements:
            refill = "; ".join(itertools.chain.from_iterable(statements))
            script += [f"BEGIN; SET LOCAL session_replication_role = replica; {refill}; COMMIT"]
        if script:
            self._seat().run("; ".join(script))
        self._committed = part

    def _set_sequences(self, values: dict[str, list[Any]]) -> None:
        if values:
            self._seat().run(set_to(values))

    def _look(self, *, defines: bool = True) -> bytes:
        """Read what is committed, and return the part that names it."""
        if defines:
            self._catalog.read(self._seat())
        tables, sequences = self._catalog.contents(self._seat())
        data: dict[str, Any] = {
            "schema": [self._catalog.schema],
            "tables": {},
            "sequences": sequences,
        }
        for name, rows in tables.items():
            columns = self._catalog.columns[name]
            values = [
                [
                    None if f"{name}.{column}" in self.ignored else value_of(text, kind)
                    for text, (column, kind, _) in zip(row, columns, strict=True)
                ]
                for row in rows
            ]
            data["tables"][name] = (
                [column for column, _, _ in columns],
                sorted(values, key=encode),
            )
        part = encode(data)
        self._rows.setdefault(part, tables)
        self._committed = part
        return part

    # ── sessions ────────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> Session:
        session = Session(self._real or conninfo_for(self.url, self._scratch))
        session.run("SET client_min_messages = error")
        return session

    def _seat(self) -> Session:
        """The lab's own session, from which it looks."""
        if self._monitor is None:
            raise LabError(f"the database {self.name} is closed")
        return self._monitor

    def _session(self, owner: int, handle: int) -> Session:
        if (owner, handle) not in self._live:
            self._live[owner, handle] = self._free.pop() if self._free else self._connect()
        return self._live[owner, handle]


_CLOCK = """
CREATE SCHEMA IF NOT EXISTS troth_lab;
CREATE OR REPLACE FUNCTION troth_lab.now() RETURNS timestamptz STABLE LANGUAGE sql
    RETURN current_setting('troth_lab.now')::timestamptz;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$;
SET synchronous_commit = off;
"""
