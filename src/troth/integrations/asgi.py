"""Idempotent requests for ASGI applications: Starlette, FastAPI, and those without a framework.

The middleware reads the request, begins the transaction, lets the handler work in it and holds its answer back until both
are committed. A client that hangs up changes nothing: the handler goes on, and a retry gets its answer. If the server
cancels the handler, all of it is rolled back, unless COMMIT is on its way: that is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

from troth.app import Troth
from troth.command import perform, request_refusals, request_rules, request_store
from troth.command.perform import Requests, idempotent
from troth.command.request_model import Answer, Fate, Operation, Options, RequestRefusedError, Sent
from troth.integrations.answering import REPLAYED, Answering
from troth.integrations.asgi_command import (
    COMMAND,
    App,
    Caller,
    Command,
    Message,
    Receive,
    Scope,
    Send,
    by_authorization,
)
from troth.integrations.asgi_routes import route_of
from troth.store.connect import AsyncConnection, AsyncPool
from troth.store.failure import DatabaseError
from troth.store.plan import Plan, carry_out

__all__ = ["COMMAND", "Command", "IdempotencyMiddleware", "OperationEndpoint", "idempotent"]

R = TypeVar("R")

log = logging.getLogger("troth.integrations")


class IdempotencyMiddleware:
    """Makes all handlers of an ASGI application that change something idempotent by `Idempotency-Key`.

    *caller(scope)* says who asks, so that nobody meets the keys of others. The client of *troth* must be open while
    requests come (`lifespan=troth.lifespan`).
    """

    def __init__(
        self, app: App, *, requests: Requests, troth: Troth, caller: Caller = by_authorization
    ) -> None:
        self.app = app
        self.requests = requests
        self.troth = troth
        self.caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not request_rules.is_covered(scope["method"]):
            await self.app(scope, receive, send)
            return
        found = route_of(scope)
        options = perform.options_of(found[1], self.requests.options) if found else None
        if found is None or options is None or options.exempt:
            await self.app(scope, receive, send)
            return
        telling = Answering(self.troth.telemetry, self.requests.name, scope["method"], found[0])

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                telling.status = message["status"]
            await send(message)

        try:
            sent = await self._read(scope, receive, found[0], options)
            if sent is not None:
                await _Exchange(self, sent, options, telling).run(scope, receive, send_told)
        except RequestRefusedError as refused:
            telling.refused(refused.code)
            await _send(send_told, request_rules.refusal(refused))
        finally:
            telling.done()

    async def _read(
        self, scope: Scope, receive: Receive, route: str, options: Options
    ) -> Sent | None:
        """The request, whole; None if the client left meanwhile. Raises `RequestRefusedError`."""
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        keys = [value for name, value in headers if name == b"idempotency-key"]
        key = request_rules.parse_key(keys, required=options.required)
        length = next((value for name, value in headers if name == b"content-length"), "")
        if length.isdecimal() and int(length[:20]) > options.max_body:
            raise request_refusals.too_large(options.max_body)
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > options.max_body:
                raise request_refusals.too_large(options.max_body)
            more = message.get("more_body", False)
        kind = next((value for name, value in headers if name == b"content-type"), "")
        return Sent(
            request_rules.storable(self.caller(scope)),
            request_rules.storable(scope["method"]),
            request_rules.storable(route),
            request_rules.storable(scope["path"]),
            scope["query_string"].decode("latin-1"),
            kind.partition(";")[0].strip().lower(),
            bytes(body),
            key,
        )


class _NotKeptError(Exception):
    """The handler's answer cannot be given."""


class _Exchange:
    """One request that is covered, from its first statement to its answer."""

    def __init__(
        self, edge: IdempotencyMiddleware, sent: Sent, options: Options, telling: Answering
    ) -> None:
        self._telling = telling
        self._requests = edge.requests
        self._troth = edge.troth
        self._app = edge.app
        self._ask = edge.requests.ask(sent, options)
        self._pool = edge.troth.node.request_pool
        self._connection: AsyncConnection | None = None
        self._command: Command | None = None
        self._start: Message | None = None
        self._body = bytearray()
        self._instead: Answer | None = None
        self._done = False
        self._send: Send = _nowhere

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, by the handler or without it."""
        self._send = send
        try:
            answer = await self._begin()
            if answer is None:
                await self._work(scope, receive)
                answer = self._instead
        except _NotKeptError:
            answer = self._instead
        except DatabaseError as error:
            refused = request_refusals.trouble(error, committing=False)
            if refused is None or self._done:
                raise
            log.warning("%s %s: %s", self._ask.sent.method, self._ask.sent.route, error)
            self._telling.refused(refused.code)
            answer = request_rules.refusal(refused)
        finally:
            await self._leave()
        if answer is not None:
            await _send(send, answer)

    async def _begin(self) -> Answer | None:
        """Begin the transaction; the answer, if there is one already."""
        asked = (self._ask.id, self._ask.lock) if self._ask.sent.key is not None else None
        q, isolation = self._requests.queries, self._requests.isolation
        self._connection = await self._pool.getconn()
        row = await request_store.begin(self._connection, q, isolation, asked)
        known = self._requests.judge(self._ask, row)
        if known is None:
            self._command = Command(self._troth, self._requests, self._ask, self._connection)
            return None
        await self._leave()
        self._telling.result = REPLAYED
        self._telling.run_id = known.operation.run_id if known.operation else None
        if known.answer is not None:
            return request_rules.replayed(known.answer)
        assert known.operation is not None
        plan = self._requests.answer_of(self._ask.id, known.operation)
        return request_rules.replayed(await _ask_database(self._pool, plan))

    async def _work(self, scope: Scope, receive: Receive) -> None:
        """Let the handler work. Its answer is sent from within `_hold`, when it is whole."""
        body: list[Message] = [
            {"type": "http.request", "body": self._ask.sent.body, "more_body": False}
        ]

        async def receive_again() -> Message:
            return body.pop() if body else await receive()

        inner = {**scope, COMMAND: self._command, "extensions": {}}
        await self._app(inner, receive_again, self._hold)

    async def _hold(self, message: Message) -> None:
        if self._instead is not None or self._done:
            raise _NotKeptError
        limit = self._ask.options.max_response
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message["type"] != "http.response.body" or len(self._body) > limit:
            log.error(
                "%s %s answers with more than max_response=%d bytes, or by a message that cannot be kept (%s): rolled back",
                self._ask.sent.method,
                self._ask.sent.route,
                limit,
                message["type"],
            )
            self._instead = request_refusals.too_much_answer(limit)
            raise _NotKeptError
        if not message.get("more_body", False):
            await self._complete()

    async def _complete(self) -> None:
        """The handler has answered: commit, then tell."""
        assert self._start is not None
        assert self._command is not None
        status = self._start["status"]
        pairs = [(name, value) for name, value in self._start.get("headers", ())]
        headers = tuple((n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in pairs)
        command = self._command
        fate = request_rules.fate_of(status, touched=command.touched, keep=command.kept)
        operation = command.pending if fate is Fate.KEEP and status < 300 else None
        answer = None if operation else Answer(status, headers, bytes(self._body))
        if fate is not Fate.FORGET:
            await _to_the_end(self._commit(fate, answer, operation))
        await self._leave()
        self._done = True
        if operation is not None:
            self._telling.run_id = operation.run_id
            await _send(self._send, await self._told_of(operation))
            return
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": bytes(self._body)})

    async def _commit(self, fate: Fate, answer: Answer | None, operation: Operation | None) -> None:
        connection = self._connection
        assert connection is not None
        state = request_store.state_of(connection)
        if state != "INTRANS" and not (state == "INERROR" and fate is Fate.REFUSAL):
            raise request_refusals.broken_transaction(state)
        assert self._command is not None
        record = self._requests.record(self._ask, answer, operation)
        words = request_store.last_words(
            self._requests.queries, fate, record, self._command.last_words
        )
        try:
            committed = await request_store.commit(connection, words)
        except DatabaseError as error:
            refused = request_refusals.trouble(error, committing=True)
            if refused is None:
                raise
            log.warning("%s %s: %s", self._ask.sent.method, self._ask.sent.route, error)
            self._telling.refused(refused.code)
            self._instead = request_rules.refusal(refused)
            raise _NotKeptError from error
        if not committed:
            raise request_refusals.broken_transaction("INERROR")

    async def _told_of(self, operation: Operation) -> Answer:
        """What the first caller is told about an operation. What was begun is durable, so a retry finds it."""
        try:
            return await self._follow(operation)
        except DatabaseError as error:
            refused = request_refusals.trouble(error, committing=True)
            if refused is None:
                raise
            log.warning("%s %s: %s", self._ask.sent.method, self._ask.sent.route, error)
            return request_rules.refusal(refused)

    async def _follow(self, operation: Operation) -> Answer:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(operation.wait_s):
                await self._troth.node.results.wait(operation.run_id)
        plan = self._requests.answer_of(self._ask.id, operation)
        return await _ask_database(self._pool, plan)

    async def _leave(self) -> None:
        """Give the connection back. What is not committed is rolled back."""
        connection, self._connection = self._connection, None
        if self._command is not None:
            self._command.close()
        if connection is None:
            return
        try:
            state = request_store.state_of(connection)
            if state in {"INTRANS", "INERROR"}:
                await connection.rollback()
            elif state != "IDLE":
                await connection.close()
        except DatabaseError as error:
            log.info("a connection is given up: %s", error)
            await connection.close()
        except BaseException:
            await connection.close()
            raise
        finally:
            await self._pool.putconn(connection)


class OperationEndpoint:
    """`GET /operations/{run id}`: what has become of an operation, for whoever began it. Mount it there.

    It is answered as a retry with the key would be: 202 while the run goes on, then the final answer.
    """

    __troth_idempotent__ = {"exempt": True}  # noqa: RUF012  (read by `options_of`, never written)

    def __init__(
        self, requests: Requests, troth: Troth, *, caller: Caller = by_authorization
    ) -> None:
        self._requests = requests
        self._troth = troth
        self._caller = caller

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] not in {"GET", "HEAD"}:
            said = "An operation can only be asked after, by GET."
            allow = (("allow", "GET, HEAD"),)
            await _send(send, request_rules.problem(405, "method", said, headers=allow))
            return
        try:
            answer = await self._find(scope)
        except RequestRefusedError as refused:
            answer = request_rules.refusal(refused)
        except DatabaseError as error:
            trouble = request_refusals.trouble(error, committing=False)
            if trouble is None:
                raise
            answer = request_rules.refusal(trouble)
        await _send(send, answer, with_body=scope["method"] == "GET")

    async def _find(self, scope: Scope) -> Answer:
        try:
            run_id = UUID(scope["path"].rstrip("/").rpartition("/")[2])
        except ValueError:
            raise request_refusals.no_operation() from None
        plan = self._requests.find(run_id, request_rules.storable(self._caller(scope)))
        return await _ask_database(self._troth.node.request_pool, plan)


async def _ask_database(pool: AsyncPool, plan: Plan[R]) -> R:
    async with pool.connection() as connection:
        return await carry_out(connection, plan)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do it, also if whoever waits for it is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _send(send: Send, answer: Answer, *, with_body: bool = True) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})


async def _nowhere(_message: Message) -> None:
    raise AssertionError("nothing is sent before a request is run")
