"""troth's database as a part of the world: what one call of its protocol does, how it can be lost, and when time may pass."""

from __future__ import annotations

import itertools
import os
from typing import Any
from uuid import UUID

from troth.lab import faults
from troth.lab.database import Database, Done, Tables
from troth.lab.model import LabError, Observation, Op, Outcome, Record, Refused
from troth.lab.moments import EPOCH
from troth.lab.troth import rows, server
from troth.lab.troth.server import SCHEMA, Server
from troth.lab.troth.wire import DatabaseFailed, failure
from troth.lab.world import decode, encode

AWAKE, ASLEEP = "awake", "asleep"
PASSES = "time passes"

_GONE = Observation(("", "the connection is lost"), "database")
_DEADLOCK = Observation(("40P01", "deadlock detected"), "database")


def _lost(name: str, *, happens: bool) -> Outcome:
    return Outcome(
        name, happens, "error", _GONE, cost=1, survived=True, word="lost commit", severs=True
    )


_COMMITTED = _lost("connection lost, committed", happens=True)
_NOT_COMMITTED = _lost("connection lost, not committed", happens=False)
COMMITS = (faults.ANSWERED, _COMMITTED, _NOT_COMMITTED)

_numbers = itertools.count(1)


class Seen:
    """The database as promises see it: `w.troth.runs`, and the application's tables by their names, without their schema.

    A run has `workflow`, `key`, `state`, `reason` (of attention) and `outcome`. A table without rows is empty, whatever its name.
    """

    def __init__(self, tables: rows.Rows) -> None:
        self._tables = rows.meant(tables, SCHEMA)

    def __getattr__(self, table: str) -> list[Record]:
        columns, held = self._tables.get(table, ([], []))
        return [Record(zip(columns, row, strict=True)) for row in held]


class Journal(Database):
    """One PostgreSQL with troth's schema.

    Args:
        name: what promises call it.
        url: a server on which the lab may create a database of its own.
        seed: SQL that makes the application's tables.
        ages: the spans that this program compares times with.
        patient_s: the longest that an effect of this program is waited for: so long can it be under way when its caller is dead.
    """

    by_driver = False
    appends = True

    def __init__(
        self, name: str, url: str, seed: str, *, ages: rows.Ages, patient_s: float
    ) -> None:
        super().__init__(name, seed)
        self._url = url
        self._ages = ages
        self._patient_s = patient_s
        self._made = ""
        self._server: Server | None = None
        self._twins: list[tuple[str, Server]] = []
        self._real: Server | None = None
        self._done: dict[bytes, Done | tuple[Observation, rows.Rows | None]] = {}
        self._inside = False
        self.loses_commits = True
        """Whether the connection can be lost while it commits."""
        self.begins: list[Op] = []
        """Calls that are made before anything else: runs that exist from the start."""

    # ── the table E ─────────────────────────────────────────────────────────────────────────────

    def initial(self) -> bytes:
        self.close()
        self._done.clear()
        self._made = f"troth_lab_{os.getpid()}_{next(_numbers)}"
        made = self._server = server.make(self._url, self._made, self.seed)
        made.learn()
        for op in self.begins:
            made.do(op)
        return _part(made.empty(), 0.0, [])

    def describe(self) -> str:
        return (
            f"{self.name}: the engine as it is, each call of its protocol at once and durable; transaction steps one after the other; "
            "time passes only when every process that lives sleeps; a worker that comes has waited for the lease of whoever was there; "
            "backoff without jitter; not here: heartbeats, LISTEN, relays, several runs in one flush (tests of the journal have them)"
        )

    def close(self) -> None:
        for name, session in self._twins:
            session.close()
            server.remove(self._url, name)
        self._twins.clear()
        if self._server is not None:
            self._server.close()
            self._server = None
            server.remove(self._url, self._made)

    def holds(self, opened: tuple[Op, ...]) -> bool:
        return bool(opened)

    def outcomes(self, op: Op, opened: tuple[Op, ...]) -> tuple[Outcome, ...]:
        wrote = any(one.kind == "held" for one in opened)
        if self.loses_commits and ((op.kind == "commit" and wrote) or op.text.startswith("flush")):
            return COMMITS
        return faults.PLAIN

    def perform(
        self, part: bytes, opened: tuple[Op, ...], others: tuple[tuple[Op, ...], ...], op: Op
    ) -> Done:
        if op.kind == "setting":
            return Done(part, _marked(opened, op), Observation())
        if op.text == PASSES:
            return _passed(part, opened, others, op)
        busy = tuple(n for n, other in enumerate(others) if any(o.kind == "held" for o in other))
        if busy:
            return Done(part, opened, _DEADLOCK, busy, waits=True)
        if op.kind == "rollback":
            return Done(part, self.without(opened, op.handle), Observation())
        data = decode(part)
        done = self._known(data, opened, op)
        if isinstance(done, Done):
            return done._replace(part=done.part or part)
        seen, after = done
        changed = part if after is None else _part(after, data["now"], data["landing"])
        left = self.without(opened, op.handle) if op.kind == "commit" else opened
        return Done(changed, left, seen)

    def _known(
        self, data: dict[str, Any], opened: tuple[Op, ...], op: Op
    ) -> Done | tuple[Observation, rows.Rows | None]:
        """Each call once: what is under way elsewhere makes no difference to it."""
        held = [one for one in opened if one.kind == "held"]
        place = encode([data["tables"], data["now"], held, op])
        if place not in self._done:
            self._done[place] = self._inside_a_transaction(data, opened, op)
        done = self._done[place]
        if isinstance(done, Done) and op.handle:
            return done._replace(opened=(*opened, done.opened[-1]))
        return done._replace(opened=opened) if isinstance(done, Done) else done

    def _inside_a_transaction(
        self, data: dict[str, Any], opened: tuple[Op, ...], op: Op
    ) -> Done | tuple[Observation, rows.Rows | None]:
        made = self._server
        assert made is not None
        failed = False
        made.begin()
        try:
            made.load(data["tables"], data["now"])
            for held in opened:
                if held.kind == "held" and held.handle == op.handle:
                    failed |= _repeated(made, held)
            if op.kind == "commit":
                if failed:
                    return Observation(), None
                made.require_constraints()
                return Observation(), made.look(touched=True)
            seen = Observation([made.do(op), data["now"]])
            if op.handle:
                return Done(b"", (*opened, _held(op, seen)), seen)
            return seen, made.look(touched=True)
        except DatabaseFailed as error:
            seen = failure(error)
            return Done(b"", (*opened, _held(op, seen)) if op.handle else opened, seen)
        finally:
            made.rollback()

    def check_change(
        self,
        before: bytes,
        after: bytes,
        mine: tuple[Op, ...],
        others: tuple[tuple[Op, ...], ...],
        op: Op,
    ) -> None:
        del before, after, mine, others, op  # nobody else has anything open

    def view(self, part: bytes) -> Tables:
        return Seen(decode(part)["tables"])  # type: ignore[return-value]

    def meant(self, tables: dict[str, Any]) -> dict[str, Any]:
        return rows.meant(tables, SCHEMA)

    def without(self, opened: tuple[Op, ...], handle: int) -> tuple[Op, ...]:
        return tuple(op for op in opened if op.kind != "held" or op.handle != handle)

    def sends_again(self, op: Op) -> bool:
        return op.text.startswith("flush")

    def snapshot(self, part: bytes) -> object:
        del part
        return None  # it says everything itself

    def adopt(self, part: bytes, snapshot: Any) -> None:
        pass

    # ── time ────────────────────────────────────────────────────────────────────────────────────

    def at_rest(self, part: bytes) -> bytes:
        """The part as it is known when nobody lives: `rows`."""
        data = decode(part)
        landing = [round(by - data["now"], 6) for by in data["landing"]]
        return _part(rows.at_rest(data["tables"], SCHEMA, data["now"], self._ages), 0.0, landing)

    def later(self, part: bytes, seconds: float) -> bytes:
        """So much time has passed."""
        data = decode(part)
        return _part(data["tables"], data["now"] + seconds, data["landing"])

    def sent(self, part: bytes, lands_within: float | None, *, dead: bool) -> bytes:
        """An effect is under way, and its caller has given up, or is dead; time does not pass beyond the moment by which it lands."""
        data = decode(part)
        by = float("inf") if lands_within is None else data["now"] + lands_within
        return _part(
            data["tables"],
            data["now"],
            sorted([*data["landing"], by + (self._patient_s if dead else 0.0)]),
        )

    def landed(self, part: bytes) -> bytes:
        """The first of them has landed."""
        data = decode(part)
        return _part(data["tables"], data["now"], data["landing"][1:])

    # ── the same for real processes ─────────────────────────────────────────────────────────────

    def twin(self, part: bytes) -> str:
        assert self._server is not None
        if not self._twins:
            name = f"{self._made}_twin"
            self._server.close()  # a template has no other sessions
            made = server.make(self._url, name, "", template=self._made)
            self._server = Server(server.placed(self._url, self._made))
            self._server.learn()
            made.learn()
            self._twins.append((name, made))
        _, made = self._twins[-1]
        data = decode(part)
        made.begin()
        made.empty()
        made.load(data["tables"], data["now"])
        made.commit()
        return made.url

    def twin_differs(self, part: bytes) -> bool:
        _, made = self._twins[-1]
        data = decode(part)
        mine, real = (
            rows.at_rest(held, SCHEMA, data["now"], self._ages)
            for held in (data["tables"], made.look())
        )
        return encode(mine) != encode(real)

    def moved(self, part: bytes) -> None:
        """In the world of real processes, too, so much time has passed."""
        self._twins[-1][1].set_now(decode(part)["now"])

    def join(self, place: str) -> None:
        self._real = Server(place)

    def join_at(self, tick: int) -> None:
        del tick  # its clock is in the database

    def really(self, op: Op) -> Observation:
        real = self._real
        assert real is not None
        if op.kind == "setting":
            return Observation()
        if op.text == PASSES:
            (until,) = op.params
            real.set_now(until)
            return Observation([None, until])
        if op.kind in {"commit", "rollback"}:
            (real.commit if op.kind == "commit" else real.rollback)()
            self._inside = False
            return Observation()
        if op.handle and not self._inside:
            real.begin()
            self._inside = True
        try:
            if op.handle:
                return Observation([real.do(op), real.now()])
            real.begin()
            seen = Observation([real.do(op), real.now()])
        except DatabaseFailed as error:
            if not op.handle:
                real.rollback()
            return failure(error)
        real.commit()
        return seen

    def cut(self, handle: int) -> None:
        if handle and self._inside:
            assert self._real is not None
            self._real.rollback()
            self._inside = False

    def leave(self) -> None:
        self.cut(1)

    def serving(self) -> list[int]:
        return [] if self._real is None else [self._real.pid]

    def outlive(self, serving: list[int]) -> None:
        _, made = self._twins[-1]
        made.wait_for_the_end_of(serving)


def _part(tables: rows.Rows, now: float, landing: list[float]) -> bytes:
    return encode({"schema": [], "tables": tables, "now": round(now, 6), "landing": landing})


def _marked(opened: tuple[Op, ...], op: Op) -> tuple[Op, ...]:
    """Whether a process is at work, or until when it sleeps."""
    return (*(one for one in opened if one.kind != "setting"), op)


def _passed(
    part: bytes, opened: tuple[Op, ...], others: tuple[tuple[Op, ...], ...], op: Op
) -> Done:
    """Time goes to the moment at which this process wakes, if it is the first, and if nothing must have landed by then."""
    (until,) = op.params
    data = decode(part)
    seen = Observation([None, until])
    sleeps = all(
        any(one.text == ASLEEP and one.params[0] >= until for one in other) for other in others
    )
    if not sleeps or any(by < until for by in data["landing"]):
        return Done(part, opened, seen, (), waits=True)
    after = _part(data["tables"], max(data["now"], until), data["landing"])
    return Done(after, _marked(opened, Op("setting", op.target, AWAKE)), seen)


def _held(op: Op, seen: Observation) -> Op:
    return Op("held", op.target, op.text, (*op.params, [seen.value, seen.error]), op.handle)


def _repeated(made: Server, held: Op) -> bool:
    """Do again what an open transaction has done; whether it fails.

    Raises:
        Refused: it is answered otherwise than before.
    """
    *params, (value, error) = held.params
    op = Op("sql", held.target, held.text, tuple(params), held.handle)
    try:
        again = Observation([made.do(op), value[1] if not error else 0.0])
    except DatabaseFailed as failed:
        again = failure(failed)
    if encode([again.value, again.error]) != encode([value, error]):
        raise Refused(f"a statement that is repeated is answered otherwise: {held.text!r}")
    return bool(again.error)


def new_id(number: int) -> UUID:
    """An id of a run or a message that exists in every world alike: its time is the lab's first moment."""
    if not 0 < number < 1 << 32:
        raise LabError("too many runs for one world")
    return UUID(int=(int(EPOCH * 1000) << 80) | (7 << 76) | (2 << 62) | number)
