"""Idempotent requests: one key, one effect, one answer. What every web framework's adapter does, without the framework.

The transaction of a request begins with the lock of its key and ends with the record of its answer, so there is no
moment in which one of the two exists without the other. The adapters run it: `Requests.ask` says what to look for,
`Requests.judge` what was found, and `Requests.record` what to store. A second request with the key meets the lock (409) or
the record (the same answer), and never the handler.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from troth.base import codec
from troth.base.errors import UsageError
from troth.command import request_refusals as refusals
from troth.command import request_rules as rules
from troth.command import request_store as store
from troth.command.request_model import (
    DAY,
    MEGABYTE,
    Answer,
    Isolation,
    Known,
    Operation,
    Options,
    Record,
    Sent,
    Standing,
)
from troth.journal.model import ENDED, Reason, RunState
from troth.store.parts import Relay, Workplace
from troth.store.plan import Plan, carry_out
from troth.store.queries import Queries
from troth.store.tx import Row
from troth.workflow.failures import name_of

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("troth.command")

_CHANGES: Final = "__troth_idempotent__"
_BUSINESS_ERROR = (
    422  # unless the author gives another: a definite no, which no client repeats by itself
)
_PURGE_EVERY_S, _PURGE_BATCH, _MOST_BATCHES = 3600.0, 1000, 100


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request's transaction begins with."""

    id: bytes
    lock: int
    sent: Sent
    options: Options


class Requests:
    """The idempotent requests of an API; a part of a program, so make it known by `troth.include`.

    *name* separates keys from those of other APIs in the same schema. *required*, *lifetime*, *fingerprint*, *max_body* and
    *max_response* (bytes) hold for every route that does not say otherwise: see `Options`. *isolation* is that of the
    requests' transactions. *failures* maps the types of business errors (or their dotted names) to the HTTP status with
    which a run that failed so is answered; all others are 422. *operations* is the path under which `OperationEndpoint` is.
    """

    def __init__(
        self,
        name: str,
        *,
        required: bool = True,
        lifetime: timedelta = DAY,
        fingerprint: Callable[[Sent], Any] | None = None,
        max_body: int = MEGABYTE,
        max_response: int = MEGABYTE,
        isolation: Isolation = "read committed",
        failures: Mapping[type[Exception] | str, int] | None = None,
        operations: str = "/operations",
    ) -> None:
        self.name = name
        self.options = Options(required, lifetime, fingerprint, max_body, max_response)
        check_options(self.options)
        self.isolation: Isolation = isolation
        self.operations = operations.rstrip("/")
        self._failures = {
            kind if isinstance(kind, str) else name_of(kind): status
            for kind, status in (failures or {}).items()
        }
        self._renders: dict[str, Callable[[Any], Any]] = {}
        self._schema: str | None = None

    # As a part --------------------------------------------------------------------------------------------------------

    def bind(self, schema: str) -> None:
        """Work with the tables of this schema. Called by `troth.include`."""
        self._schema = schema

    @property
    def relays(self) -> Sequence[Relay]:
        """Workers forget what has expired."""
        return [_Purge(self)]

    @property
    def schema(self) -> str:
        """Where the records are. Raises `UsageError` if it was not included."""
        if self._schema is None:
            msg = f"requests {self.name} belong to no Troth yet: requests = troth.include(Requests({self.name!r}))"
            raise UsageError(msg)
        return self._schema

    @property
    def queries(self) -> Queries:
        """The statements for this schema."""
        return store.queries(self.schema)

    def renders(self, function: F) -> F:
        """Register how the result of a run (plain JSON values) becomes an answer: by an `Answer`, or a value for a 200.

        Registered, since a retry may meet another process than the one whose handler ran. Its name is stored.
        """
        known = self._renders.setdefault(function.__qualname__, function)
        if known is not function:
            msg = f"requests {self.name} have two renderers named {function.__qualname__}"
            raise UsageError(msg)
        return function

    # One request ------------------------------------------------------------------------------------------------------

    def ask(self, sent: Sent, options: Options) -> Ask:
        """What to look for."""
        request_id = rules.identity(self.name, sent) if sent.key is not None else os.urandom(16)
        return Ask(request_id, rules.lock_of(self.schema, request_id), sent, options)

    def judge(self, ask: Ask, row: Row | None) -> Known | None:
        """What is known of this request; None: it is new. Raises `RequestRefusedError` (409 in use, 422 another one)."""
        if row is None or row[0] == "fresh":
            return None
        if row[0] == "busy":
            raise refusals.in_use()
        known = store.known(row)
        rules.require_same(known.parts, _parts(ask, known.salt))
        return known

    def record(self, ask: Ask, answer: Answer | None, operation: Operation | None) -> Record | None:
        """The row to commit with the work; None if nobody can ask for it again."""
        if ask.sent.key is None and operation is None:
            return None
        salt = os.urandom(16)
        kept = answer and replace(answer, headers=rules.kept_headers(answer.headers))
        seconds = ask.options.lifetime.total_seconds()
        parts = _parts(ask, salt)
        return Record(ask.id, self.name, ask.sent, salt, parts, seconds, kept, operation)

    # Operations -------------------------------------------------------------------------------------------------------

    def operation(
        self, run_id: UUID, wait: float, render: Callable[[Any], Any] | None
    ) -> Operation:
        """An answer that is what becomes of a run. Raises `UsageError` for a renderer that is not registered."""
        name = None if render is None else render.__qualname__
        if name is not None and self._renders.get(name) is not render:
            msg = f"{name} is not registered: decorate it with @requests.renders"
            raise UsageError(msg)
        return Operation(run_id, wait, name)

    def answer_of(self, request_id: bytes, operation: Operation) -> Plan[Answer]:
        """What there is to say about an operation now. The first final answer is stored, and is the answer for ever."""
        standing = yield from store.standing(self.queries, operation.run_id)
        if standing is not None and standing.state in ENDED:
            final = self._final(operation, standing)
            return (yield from store.settle(self.queries, request_id, final))
        return self._still(operation, standing)

    def find(self, run_id: UUID, caller: str) -> Plan[Answer]:
        """As `answer_of`, by the id of the run. Raises `RequestRefusedError` (404), also if it is somebody else's."""
        found = yield from store.operation(self.queries, run_id, self.name, caller)
        if found is None:
            raise refusals.no_operation()
        request_id, operation, answer = found
        return answer if answer is not None else (yield from self.answer_of(request_id, operation))

    def url_of(self, run_id: UUID) -> str:
        """Where an operation can be asked after."""
        return f"{self.operations}/{run_id}"

    def _final(self, operation: Operation, standing: Standing) -> Answer:
        outcome = codec.decode(standing.outcome or b"null")
        url = self.url_of(operation.run_id)
        report = (
            ("content-location", url),
        )  # the answer is what can be had there, too (RFC 9110, 8.7)
        more = {"operation": url}
        if standing.state == RunState.FAILED:
            status = self._failures.get(outcome["type"], _BUSINESS_ERROR)
            more["error"] = outcome["type"].rpartition(".")[2]
            return rules.problem(
                status, "operation_failed", outcome["message"], headers=report, more=more
            )
        if standing.state == RunState.CANCELLED:
            said = "The operation was cancelled, and what it had done is undone."
            return rules.problem(409, "operation_cancelled", said, headers=report, more=more)
        render = self._renders.get(operation.render or "")
        made = outcome if render is None else render(outcome)
        return made if isinstance(made, Answer) else rules.json_answer(200, made, report)

    def _still(self, operation: Operation, standing: Standing | None) -> Answer:
        url = self.url_of(operation.run_id)
        body = {"id": str(operation.run_id), "state": _state_word(standing), "url": url}
        return rules.json_answer(202, body, (("location", url), *refusals.RETRY_NOW))


def idempotent(
    *,
    exempt: bool | None = None,
    required: bool | None = None,
    lifetime: timedelta | None = None,
    fingerprint: Callable[[Sent], Any] | None = None,
    max_body: int | None = None,
    max_response: int | None = None,
) -> Callable[[F], F]:
    """What holds for this handler otherwise than for the whole API; see `Options`. Put it next to the function.

    *exempt*: leave the handler alone, for one that is idempotent by other means, such as the receiver of a webhook.
    """
    given = {
        "exempt": exempt,
        "required": required,
        "lifetime": lifetime,
        "fingerprint": fingerprint,
        "max_body": max_body,
        "max_response": max_response,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    check_options(replace(Options(), **changes))

    def mark(function: F) -> F:
        setattr(function, _CHANGES, changes)
        return function

    return mark


def options_of(handler: object, default: Options) -> Options:
    """What holds for a handler."""
    return replace(default, **getattr(handler, _CHANGES, {}))


def check_options(options: Options) -> None:
    """Raise `UsageError` for options that cannot be."""
    if options.lifetime <= timedelta(0) or min(options.max_body, options.max_response) < 0:
        msg = f"a lifetime is longer than nothing, and sizes are not negative: {options}"
        raise UsageError(msg)


# Fingerprints ---------------------------------------------------------------------------------------------------------


def _parts(ask: Ask, salt: bytes) -> dict[str, str]:
    return rules.parts_of(ask.sent, salt, _instead(ask))


def _instead(ask: Ask) -> Any:
    """What the author compares instead of the body. A body that makes no sense to that function is compared itself."""
    if ask.options.fingerprint is None:
        return None
    try:
        return ask.options.fingerprint(ask.sent)
    except Exception as error:  # noqa: BLE001  (the body is a stranger's, so any error may come of it)
        log.info("fingerprint of %s %s: %r", ask.sent.method, ask.sent.route, error)
        return None


def _state_word(standing: Standing | None) -> str:
    if standing is None:
        return "unknown"
    if standing.state == RunState.ATTENTION:
        return "in_doubt" if standing.reason == Reason.IN_DOUBT else "attention"
    return "undoing" if standing.state == RunState.UNDOING else "running"


# Forgetting -----------------------------------------------------------------------------------------------------------


class _Purge:
    """Deletes what has expired, at most once an hour and not endlessly."""

    channel = "request"  # never rung: nothing about it is urgent
    connections = 1

    def __init__(self, requests: Requests) -> None:
        self.name = f"purge of requests {requests.name}"
        self._requests = requests

    async def work(self, place: Workplace) -> None:
        while True:
            for _ in range(_MOST_BATCHES):
                async with place.connections.connection() as connection:
                    gone = await carry_out(
                        connection, store.purge(self._requests.queries, _PURGE_BATCH)
                    )
                if gone < _PURGE_BATCH:
                    break
            loop = asyncio.get_running_loop()
            until = loop.time() + _PURGE_EVERY_S
            while (seconds := until - loop.time()) > 0:  # an alarm hurries nothing here
                await place.alarm.wait(seconds)
