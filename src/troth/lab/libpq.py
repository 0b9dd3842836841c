"""A session with a real PostgreSQL, as thin as libpq: what the server says is kept as the server said it.

Whether a statement waits is decided by the server (`pg_blocking_pids`), never by a clock.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from psycopg import pq
from psycopg.conninfo import make_conninfo

from troth.lab.model import LabError, Observation, Refused

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

DIAGNOSTICS = tuple(pq.DiagnosticField)
_STATUS = {
    pq.TransactionStatus.IDLE: "I",
    pq.TransactionStatus.INTRANS: "T",
    pq.TransactionStatus.INERROR: "E",
}
_GOOD = {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY}


def conninfo_for(url: str, database: str) -> str:
    """The same server, another database."""
    return make_conninfo(url, dbname=database)


class Statement(NamedTuple):
    """A statement as a driver sends it. `begin` is sent before it, if there is one."""

    text: str
    values: tuple[bytes | None, ...] | None = None
    types: tuple[int, ...] = ()
    formats: tuple[int, ...] = ()
    binary: bool = False
    begin: str = ""
    lasts: bool = False
    """Whether it leaves something behind in the session."""


class Waiting(NamedTuple):
    """The statement waits for these server processes; it was cancelled."""

    pids: frozenset[int]


class Session:
    """One connection of the lab to the server.

    Raises:
        LabError: the server cannot be reached.
    """

    def __init__(self, conninfo: str) -> None:
        self.pgconn: PGconn = pq.PGconn.connect(conninfo.encode())
        if self.pgconn.status != pq.ConnStatus.OK:
            reason = self.pgconn.get_error_message().strip()
            raise LabError(f"the lab's PostgreSQL cannot be reached: {reason}")
        self.pgconn.notice_handler = lambda _: None
        self.settled = False
        """Whether a setting, a lock or the like may last beyond the transaction."""

    @property
    def pid(self) -> int:
        """The server process of this session."""
        return self.pgconn.backend_pid

    @property
    def status(self) -> str:
        """I: no transaction, T: in one, E: in one that has failed."""
        return _STATUS.get(pq.TransactionStatus(self.pgconn.transaction_status), "?")

    def run(self, sql: str) -> list[list[list[str | None]]]:
        """The lab's own SQL; the rows of each statement as text.

        Raises:
            LabError: the server refused it.
        """
        self.pgconn.send_query(sql.encode())
        results = self._results()
        if self.pgconn.status != pq.ConnStatus.OK:
            raise LabError("the lab's PostgreSQL went away")
        for one in results:
            if one.status not in _GOOD:
                raise LabError(f"PostgreSQL: {one.get_error_message().strip()}, in: {sql[:200]}")
        return [_texts(one) for one in results]

    def ask(
        self, statement: Statement, monitor: Session, ours: frozenset[int]
    ) -> Observation | Waiting:
        """A statement of the application: what it observes, or for whom of ours it would have to wait."""
        if statement.begin:
            self.run(statement.begin)
        self.settled |= statement.lasts
        text = statement.text.encode()
        if statement.values is None and not statement.binary:
            self.pgconn.send_query(text)
        else:
            self.pgconn.send_query_params(
                text,
                statement.values,
                param_types=statement.types or None,
                param_formats=[pq.Format(one) for one in statement.formats] or None,
                result_format=pq.Format.BINARY if statement.binary else pq.Format.TEXT,
            )
        self.pgconn.flush()
        while self._busy():
            blocking = texts(monitor.run(f"SELECT unnest(pg_blocking_pids({self.pid}))")[0])
            if found := frozenset(map(int, blocking)) & ours:
                monitor.run(f"SELECT pg_cancel_backend({self.pid})")
                self._results()
                return Waiting(found)
        results = self._results()
        if len(results) != 1:
            raise Refused(f"{statement.text!r}: several statements in one are not explored")
        return self._seen(results[0])

    def describe(self, text: str, types: tuple[int, ...]) -> Observation:
        """What a statement takes and returns: types of parameters, and columns; without executing it."""
        made = self.pgconn.prepare(b"", text.encode(), types or None)
        if made.status in _GOOD:
            made = self.pgconn.describe_prepared(b"")
        if made.status not in _GOOD:
            return self._seen(made)
        parameters = tuple(made.param_type(n) for n in range(made.nparams))
        return Observation((parameters, _columns(made)))

    def reset(self) -> None:
        """As a new connection would be."""
        if self.status != "I":
            self.run("ROLLBACK")
        if self.settled:
            self.run("DISCARD ALL")
            self.settled = False

    def close(self) -> None:
        """End the session."""
        self.pgconn.finish()

    def outlive(self, pids: list[int]) -> None:
        """Wait until none of these server processes works in this database any more; what they held is free then."""
        if not pids:
            return
        left = f"SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid IN ({', '.join(map(str, pids))})"
        while self.run(left)[0]:
            pass

    def _busy(self) -> bool:
        """Whether the server has not answered; looked at after it had a moment to."""
        select.select([self.pgconn.socket], [], [], 0.002)
        self.pgconn.consume_input()
        return bool(self.pgconn.is_busy())

    def _results(self) -> list[PGresult]:
        found = []
        while (one := self.pgconn.get_result()) is not None:
            found.append(one)
            if one.status in {pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT}:
                raise Refused("COPY is not explored")
        return found

    def _seen(self, result: PGresult) -> Observation:
        if result.status in _GOOD:
            rows = tuple(
                tuple(result.get_value(row, n) for n in range(result.nfields))
                for row in range(result.ntuples)
            )
            tag = (result.command_status or b"").decode()
            tuples = result.status == pq.ExecStatus.TUPLES_OK
            return Observation((self.status, tag, tuples, _columns(result), rows))
        fields = tuple(
            (int(field), text)
            for field in DIAGNOSTICS
            if field not in _UNSTABLE and (text := result.error_field(field)) is not None
        )
        return Observation((self.status, fields), "refused")


_UNSTABLE = {
    pq.DiagnosticField.SOURCE_FILE,
    pq.DiagnosticField.SOURCE_LINE,
    pq.DiagnosticField.SOURCE_FUNCTION,
}


def _columns(result: PGresult) -> tuple[tuple[str, int, int, int, int], ...]:
    """Names, types, modifiers, sizes, formats."""
    return tuple(
        (
            (result.fname(n) or b"").decode(),
            result.ftype(n),
            result.fmod(n),
            result.fsize(n),
            int(result.fformat(n)),
        )
        for n in range(result.nfields)
    )


def _texts(result: PGresult) -> list[list[str | None]]:
    return [
        [
            None if (value := result.get_value(row, n)) is None else value.decode()
            for n in range(result.nfields)
        ]
        for row in range(result.ntuples)
    ]


def texts(sequence: Sequence[Sequence[str | None]]) -> list[str]:
    """The first column, where nothing is NULL."""
    return [row[0] for row in sequence if row[0] is not None]
