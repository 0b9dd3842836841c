"""A connection of the application to a PostgreSQL of the lab, whatever driver it has: what can be asked, and in which state it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from troth.lab.edge import clock
from troth.lab.edge.attempt import Attempt, attributed
from troth.lab.model import Observation, Op
from troth.lab.postgres_rules import defines, reads_clock

if TYPE_CHECKING:
    from troth.lab.postgres import Postgres

_BEGINS = re.compile(r"\s*(begin|start\s+transaction)\b", re.IGNORECASE)
_COMMITS = re.compile(r"\s*(commit|end)(\s+(work|transaction))?\s*;?\s*$", re.IGNORECASE)
_ROLLS_BACK = re.compile(r"\s*(rollback|abort)(\s+(work|transaction))?\s*;?\s*$", re.IGNORECASE)


class Lost(Exception):
    """The connection is gone; the message is what a client would be told."""


class Line:
    """One connection.

    `status` is what the server says with every answer: I (no transaction), T (in one), E (in one that has failed). A transaction
    begins with its first statement, and what is sent before that goes with it: nobody but the client could notice the difference.

    Raises:
        Lost: there was no connection to be had.
    """

    def __init__(self, attempt: Attempt, database: Postgres) -> None:
        self.attempt = attempt
        self.database = database
        self.status = "I"
        self.open = True
        self.site = ""
        """Where the client asks, if that is not where the lab is asked."""
        self._handle = next(attempt.handles)
        self._begin = ""
        self._batched = False
        if self._ask("connect").error:
            self.open = False
            raise Lost("connection refused")
        attempt.kept.append(self.forget)

    def simple(self, text: str) -> Observation:
        """A statement without parameters, which may begin or end a transaction.

        Raises:
            Lost: with this operation.
        """
        if _BEGINS.match(text) and self.status == "I":
            self._begin, self.status = text.rstrip("; \n"), "T"
            return Observation(("T", "BEGIN", False, (), ()))
        if _COMMITS.match(text):
            return self._end("commit")
        if _ROLLS_BACK.match(text):
            return self._end("rollback")
        return self.statement(text, None, (), (), binary=False)

    def statement(
        self, text: str, values: Any, types: Any, formats: Any, *, binary: bool
    ) -> Observation:
        """A statement as the driver sends it.

        Raises:
            Lost: with this operation.
        """
        if defines(text) and self.attempt.ordered:
            self.attempt.refuse(
                f"an attempt changes the schema: {text!r}; create it with lab.database(migrate=…)"
            )
        if self.database.schema_reads_clock or reads_clock(text):
            clock.tick(self.attempt)
        inside = self.status != "I"
        begin, self._begin = self._begin, ""
        return self._take(self._ask("sql", text, (values, types, formats, binary, inside, begin)))

    def described(self, text: str, types: tuple[int, ...]) -> Observation:
        """What a statement takes and returns: (types of parameters, columns). It is no operation: it only depends on the schema."""
        return self.database.describe_statement(
            text, types, self._handle, changing=not self.attempt.ordered
        )

    def begin_batch(self) -> None:
        """Several statements are sent at once: they are one transaction, if there is none yet."""
        if self.status == "I":
            self._begin, self.status, self._batched = "BEGIN", "T", True

    def end_batch(self, *, failed: bool) -> None:
        """The transaction of a batch ends with it.

        Raises:
            Lost: with its COMMIT.
        """
        if self._batched:
            self._batched = False
            self._end("rollback" if failed else "commit")

    def close(self) -> None:
        """The client ends it."""
        if self.open and self.attempt.refused is None:
            self._ask("close")
        self.open = False

    def forget(self) -> None:
        """When the attempt is over, so is its connection, closed or not."""
        self.open = False

    def _end(self, kind: str) -> Observation:
        if self._begin:  # nothing has been sent yet
            self._begin, self.status = "", "I"
            return Observation(("I", kind.upper(), False, (), ()))
        return self._take(self._ask(kind))

    def _ask(self, kind: Any, text: str = "", params: tuple[Any, ...] = ()) -> Observation:
        attempt = attributed(f"{kind} on {self.database.name}")
        if attempt is not self.attempt:
            attempt.refuse(
                "a connection that was opened by an earlier attempt is used again; "
                "connections kept between attempts are not explored yet"
            )
        return attempt.ask(Op(kind, self.database.name, text, params, self._handle), self.site)

    def _take(self, observed: Observation) -> Observation:
        if observed.error == "lost":
            self.open = False
            raise Lost(str(observed.value[1]))
        if observed.error != "refused" or self.status != "I":
            self.status = observed.value[0]
        return observed


def chosen(databases: tuple[Postgres, ...], wanted: str) -> Postgres:
    """Which of them a client means that says this of it."""
    return next((one for one in databases if one.name in wanted), databases[0])
