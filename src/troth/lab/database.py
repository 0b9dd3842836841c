"""What every database of the world can do: begin, show itself, do one operation beside the open transactions of live attempts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from troth.lab.model import LabError, Observation, Op, Outcome, Record, Refused
from troth.lab.world import decode


class Done(NamedTuple):
    """What an operation did: the database after it, what the attempt still has open, and what it observes.

    `blockers`: whom of the others it has to wait for. Then it did nothing, and the observation is that of a deadlock.
    """

    part: bytes
    opened: tuple[Op, ...]
    observation: Observation
    blockers: tuple[int, ...] = ()
    waits: bool = False
    """Whether it cannot be done now, whoever is in the way."""


class Tables:
    """The database as promises see it: `w.db.users` is the list of rows of `users`."""

    def __init__(self, tables: dict[str, tuple[list[str], list[list[object]]]]) -> None:
        self._tables = tables

    def __getattr__(self, table: str) -> list[Record]:
        try:
            columns, rows = self._tables[table]
        except KeyError:
            raise LabError(
                f"the database has no table {table!r}; it has {', '.join(self._tables)}"
            ) from None
        return [Record(zip(columns, row[-len(columns) :], strict=True)) for row in rows]


class Database(ABC):
    """One database of the world. A part of a world is its logical content; the real one stands behind it.

    Args:
        name: what promises call it.
        seed: SQL that is executed before anything else.
    """

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        self.seed = seed
        self.ignored: set[str] = set()
        """Columns ("table.column") that are not part of a world's identity."""

    by_driver = True
    """Whether the application reaches it by the drivers that the lab catches."""
    appends = False
    """Whether it grows by design, and not without end: a journal, in which every effect has so many attempts."""
    draws_numbers = False
    """Whether there are sequences, which a rollback does not set back."""

    @abstractmethod
    def initial(self) -> bytes:
        """The database after its seed."""

    @abstractmethod
    def describe(self) -> str:
        """The model in words, for the verdict."""

    def sends_again(self, op: Op) -> bool:
        """Whether who gets no answer to this operation sends the same again until there is one, and does nothing else."""
        del op
        return False

    # ── a database that keeps the time of its world (`lab.troth`) ───────────────────────────────

    def at_rest(self, part: bytes) -> bytes:
        """The part as it is known when nobody is at work."""
        return part

    def later(self, part: bytes, seconds: float) -> bytes:
        """The part when so much time has passed."""
        del seconds
        return part

    def sent(self, part: bytes, lands_within: float | None, *, dead: bool) -> bytes:
        """The part when an effect is under way that lands within so many seconds, whose caller has given up, or is dead."""
        del lands_within, dead
        return part

    def landed(self, part: bytes) -> bytes:
        """The part when it has landed."""
        return part

    def moved(self, part: bytes) -> None:  # noqa: B027  (most keep no time)
        """In the world of real processes, too, so much time has passed."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection and remove what was made."""

    @abstractmethod
    def holds(self, opened: tuple[Op, ...]) -> bool:
        """Whether what is open can stand in the way of others: a transaction, not a mere connection or setting."""

    @abstractmethod
    def outcomes(self, op: Op, opened: tuple[Op, ...]) -> tuple[Outcome, ...]:
        """Every way in which an operation can end."""

    @abstractmethod
    def perform(
        self, part: bytes, opened: tuple[Op, ...], others: tuple[tuple[Op, ...], ...], op: Op
    ) -> Done:
        """Do one operation in a world with these operations already done in open transactions, this attempt's and others'."""

    @abstractmethod
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

    # ── the same for real processes (`processes`) ───────────────────────────────────────────────

    @abstractmethod
    def twin(self, part: bytes) -> str:
        """Make a real database with this content, for real processes alone; where it is."""

    @abstractmethod
    def twin_differs(self, part: bytes) -> bool:
        """Whether the real database now holds something else."""

    @abstractmethod
    def join(self, place: str) -> None:
        """In a new process: from now on, work for real at this place."""

    @abstractmethod
    def join_at(self, tick: int) -> None:
        """The clock that this process sees shows this tick."""

    @abstractmethod
    def really(self, op: Op) -> Observation:
        """Do an operation on this process's own connection."""

    @abstractmethod
    def cut(self, handle: int) -> None:
        """The connection is lost."""

    @abstractmethod
    def leave(self) -> None:
        """An attempt has ended: what it left open goes with it."""

    @abstractmethod
    def serving(self) -> list[int]:
        """In a process: which processes of a server work for it, now."""

    @abstractmethod
    def outlive(self, serving: list[int]) -> None:
        """Wait until none of these is left: a server goes on for a while when its client is dead."""

    def view(self, part: bytes) -> Tables:
        """The rows as promises see them."""
        return Tables(decode(part)["tables"])

    def meant(self, tables: dict[str, Any]) -> dict[str, Any]:
        """Of the tables of a part, what reports tell of."""
        return tables

    def schema(self, part: bytes) -> list[Any]:
        """What created what is there."""
        return list(decode(part)["schema"])

    def without(self, opened: tuple[Op, ...], handle: int) -> tuple[Op, ...]:
        """What is open when a connection is lost: the server rolls back what it had."""
        return tuple(op for op in opened if op.handle != handle or op.target != self.name)

    @abstractmethod
    def snapshot(self, part: bytes) -> object:
        """What stands behind a part, as plain data, for another process."""

    @abstractmethod
    def adopt(self, part: bytes, snapshot: Any) -> None:
        """Know a part that another process has met."""

    has_row_locks = False
    """Whether SELECT … FOR UPDATE locks rows."""

    def with_index(self, part: bytes, sql: str) -> bytes:
        """The database with one more index, to try what it would prevent.

        Raises:
            LabError: there cannot be one.
        """
        del part
        raise LabError(f"{sql}: another schema of {self.name} cannot be tried")

    def check_schema(self, before: bytes, after: bytes, op: Op) -> None:
        """Refuse an attempt that changes the schema.

        Raises:
            Refused: it does.
        """
        if self.schema(before) != self.schema(after):
            raise Refused(
                f"an attempt changes the schema of {self.name}: {op.text!r}; create it with lab.database(migrate=…)"
            )
