"""Idempotent requests from threads: what the adapters for Flask and Django share.

The engine stays where it is, in the workers. A web process needs connections and the same tables, nothing else: it
records requests, starts runs in their transactions, and looks at what has become of them.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVarTuple
from uuid import UUID

from troth.app import Troth
from troth.base.errors import UsageError
from troth.command import request_refusals, request_rules, request_start, request_store
from troth.command.perform import Ask, Requests
from troth.command.request_model import (
    Answer,
    Fate,
    Headers,
    Operation,
    Options,
    RequestRefusedError,
    Sent,
)
from troth.integrations.answering import REPLAYED, Answering
from troth.store.connect import BlockingConnection, BlockingPool, Database, pool_blocking
from troth.store.failure import DatabaseError
from troth.store.plan import Plan, Statement, carry_out_blocking
from troth.store.tx import BlockingTx, Row

Ts = TypeVarTuple("Ts")

log = logging.getLogger("troth.integrations")

_LOOK_S = (0.01, 0.02, 0.05, 0.1, 0.25)


class Session(Protocol):
    """A transaction that a request works in."""

    def begin(self, requests: Requests, asked: tuple[bytes, int] | None) -> Row | None:
        """Begin it, and look at the key."""

    @property
    def tx(self) -> BlockingTx:
        """For statements in it."""

    def commit(self, fate: Fate, words: Sequence[Statement]) -> None:
        """Commit it, after these last words. Raises what the database raises."""

    def leave(self) -> None:
        """Roll back what is not committed."""


class Command:
    """One request at work; see `troth.integrations.asgi.Command`, of which this is the form for threads."""

    def __init__(self, edge: Edge, ask: Ask, session: Session, held: Callable[[], Any]) -> None:
        self.key = ask.sent.key
        self.principal = ask.sent.caller
        self.touched = False
        self.kept = False
        self.pending: Operation | None = None
        self.last_words: list[Statement] = []
        self._edge = edge
        self._session: Session | None = session
        self._held = held

    @property
    def tx(self) -> BlockingTx:
        """The transaction in which the answer will be recorded. Raises `UsageError` once that has been sent."""
        if self._session is None:
            msg = "this request has been answered, and its transaction has ended: work after that needs another one"
            raise UsageError(msg)
        self.touched = True
        return self._session.tx

    def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, Any]],
        *args: *Ts,
        key: str | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        partition: str | None = None,
        deadline: datetime | timedelta | None = None,
    ) -> UUID:
        """Start a run in this transaction, as `troth.start` does; its id."""
        troth = self._edge.troth
        plan = request_start.start(
            self._edge.requests.queries, troth.cell, troth.workflows, workflow, args,
            key=key, at=at, priority=priority, partition=partition, deadline=deadline,
            telemetry=troth.telemetry,
        )  # fmt: skip
        return carry_out_blocking(self.tx, plan)

    def at_commit(self, statement: Statement) -> None:
        """Send *statement* together with COMMIT: it costs no round trip, and nothing sees what it returns.

        It is not done if the answer is a refusal (4xx) that `keep` does not keep.
        """
        self.touched = True
        self.last_words.append(statement)

    def keep(self) -> None:
        """Commit what was done also if the answer is a refusal (4xx), which otherwise undoes it."""
        self.kept = True

    def operation(
        self, run: UUID, *, wait: float = 0.0, render: Callable[[Any], Any] | None = None
    ) -> Any:
        """Return this from the handler: the answer is what becomes of *run*."""
        self.pending = self._edge.requests.operation(run, wait, render)
        return self._held()

    def close(self) -> None:
        """It is over."""
        self._session = None


class Edge:
    """Requests, and the connections that they work on. *connections*: at most so many requests at once."""

    def __init__(self, requests: Requests, troth: Troth, *, connections: int = 10) -> None:
        self.requests = requests
        self.troth = troth
        self._connections = connections
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._pool: BlockingPool | None = None

    @property
    def pool(self) -> BlockingPool:
        """The connections, made when the first request comes: a server may fork before."""
        with self._lock:
            if self._pool is None:
                self._database = Database.find(self.troth.url, self.troth.directory)
                self._pool = pool_blocking(self._database.url, 0, self._connections)
                self._pool.open()
            return self._pool

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
            if self._database is not None:
                self._database.close()
            self._pool = self._database = None

    def ask_database(self, plan: Plan[Answer]) -> Answer:
        """Carry out a plan on a connection in autocommit mode."""
        with self.pool.connection() as connection:
            return carry_out_blocking(connection, plan)

    def find(self, run_id: str, caller: str) -> Answer:
        """What has become of an operation of *caller*'s: for the handler of `GET /operations/{run id}`."""
        try:
            plan = self.requests.find(UUID(run_id), request_rules.storable(caller))
            return self.ask_database(plan)
        except ValueError:
            return request_rules.refusal(request_refusals.no_operation())
        except RequestRefusedError as refused:
            return request_rules.refusal(refused)
        except DatabaseError as error:
            return told(error)


class Exchange:
    """One request that is covered. `begin`, then the handler, then `complete` or `leave`."""

    def __init__(self, edge: Edge, sent: Sent, options: Options, session: Session) -> None:
        self._edge = edge
        self._options = options
        self._ask = edge.requests.ask(sent, options)
        self._session = session
        self.command: Command | None = None
        self._telling = Answering(edge.troth.telemetry, edge.requests.name, sent.method, sent.route)

    def begin(self, held: Callable[[], Any]) -> Answer | None:
        """Begin; the answer, if there is one already. *held* makes a response that stands for one not known yet."""
        answer = self._begin(held)
        if answer is not None:
            self._told(answer.status)
        return answer

    def _told(self, status: int) -> None:
        self._telling.status = status
        self._telling.done()

    def _begin(self, held: Callable[[], Any]) -> Answer | None:
        requests, ask = self._edge.requests, self._ask
        try:
            row = self._session.begin(
                requests, (ask.id, ask.lock) if ask.sent.key is not None else None
            )
            known = requests.judge(ask, row)
            if known is None:
                self.command = Command(self._edge, ask, self._session, held)
                return None
            self.leave()
            self._telling.result = REPLAYED
            self._telling.run_id = known.operation.run_id if known.operation else None
            if known.answer is not None:
                return request_rules.replayed(known.answer)
            assert known.operation is not None
            plan = requests.answer_of(ask.id, known.operation)
            return request_rules.replayed(self._edge.ask_database(plan))
        except RequestRefusedError as refused:
            self.leave()
            self._telling.refused(refused.code)
            return request_rules.refusal(refused)
        except DatabaseError as error:
            self.leave()
            self._telling.refused("")
            return told(error)
        except BaseException:
            self.leave()
            raise

    def complete(self, status: int, headers: Headers, body: Iterable[bytes]) -> Answer | None:
        """The handler has answered: commit. What to send instead; None: that answer. *body* is read to its limit."""
        answer = self._complete(status, headers, body)
        self._told(status if answer is None else answer.status)
        return answer

    def _complete(self, status: int, headers: Headers, body: Iterable[bytes]) -> Answer | None:
        command = self.command
        assert command is not None
        try:
            limit = self._options.max_response
            kept = bytearray()
            for piece in body:
                kept += piece
                if len(kept) > limit:
                    log.error(
                        "%s %s answers with more than max_response=%d bytes: rolled back",
                        self._ask.sent.method,
                        self._ask.sent.route,
                        limit,
                    )
                    return request_refusals.too_much_answer(limit)
            fate = request_rules.fate_of(status, touched=command.touched, keep=command.kept)
            if fate is Fate.FORGET:
                return None
            operation = command.pending if fate is Fate.KEEP and status < 300 else None
            answer = None if operation else Answer(status, headers, bytes(kept))
            requests = self._edge.requests
            record = requests.record(self._ask, answer, operation)
            words = request_store.last_words(requests.queries, fate, record, command.last_words)
            self._session.commit(fate, words)
        except DatabaseError as error:
            log.warning("%s %s: %s", self._ask.sent.method, self._ask.sent.route, error)
            self._telling.refused("")
            return told(error, committing=True)
        finally:
            self.leave()
        if operation is None:
            return None
        self._telling.run_id = operation.run_id
        return self._follow(operation)

    def leave(self) -> None:
        """Roll back what is not committed, and give the connection back. May be called again."""
        if self.command is not None:
            self.command.close()
        self._session.leave()

    def _follow(self, operation: Operation) -> Answer:
        until = time.monotonic() + operation.wait_s
        looks = 0
        while True:
            plan = self._edge.requests.answer_of(self._ask.id, operation)
            try:
                answer = self._edge.ask_database(plan)
            except DatabaseError as error:  # what was begun is durable, so a retry finds it
                return told(error, committing=True)
            left = until - time.monotonic()
            if answer.status != 202 or left <= 0:
                return answer
            time.sleep(min(_LOOK_S[min(looks, len(_LOOK_S) - 1)], left))
            looks += 1


class PooledSession:
    """A transaction on a connection of the edge's own."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._connection: BlockingConnection | None = None

    def begin(self, requests: Requests, asked: tuple[bytes, int] | None) -> Row | None:
        self._connection = self._edge.pool.getconn()
        return request_store.begin_blocking(
            self._connection, requests.queries, requests.isolation, asked
        )

    @property
    def tx(self) -> BlockingTx:
        assert self._connection is not None
        return self._connection

    def commit(self, fate: Fate, words: Sequence[Statement]) -> None:
        assert self._connection is not None
        require_sound(self._connection, fate)
        if not request_store.commit_blocking(self._connection, words):
            raise request_refusals.broken_transaction("INERROR")

    def leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if request_store.state_of(connection) in {"INTRANS", "INERROR"}:
                connection.rollback()
        except DatabaseError as error:
            log.info("a connection is given up: %s", error)
            connection.close()
        finally:
            self._edge.pool.putconn(connection)


def require_sound(connection: BlockingConnection, fate: Fate) -> None:
    """Raise `UsageError` if the transaction cannot be committed as a whole."""
    state = request_store.state_of(connection)
    if state != "INTRANS" and not (state == "INERROR" and fate is Fate.REFUSAL):
        raise request_refusals.broken_transaction(state)


def told(error: DatabaseError, *, committing: bool = False) -> Answer:
    """What the client is told about an error of the database. Raises it if it is a bug."""
    refused = request_refusals.trouble(error, committing=committing)
    if refused is None:
        raise error
    return request_rules.refusal(refused)


def by_authorization(header: str | None) -> str:
    """Whoever sends the same Authorization header is the same caller; all others are `anonymous`."""
    if header is None:
        return "anonymous"
    sent = header.encode("utf-8", "backslashreplace")
    return "authorization:" + hashlib.blake2b(sent, digest_size=16).hexdigest()
