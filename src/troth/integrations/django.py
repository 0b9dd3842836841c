"""Idempotent requests for Django: a middleware, and the request's transaction for the ORM.

    # settings.py
    MIDDLEWARE = [..., "troth.integrations.django.IdempotencyMiddleware"]
    TROTH_EDGE = "shop.durable.edge"      # edge = DjangoEdge(requests, troth, using="default")

The transaction is `atomic` on the database *using*, so what the ORM writes there commits with the record. That must be
the database of troth's schema, through psycopg 3. Errors of the ORM's that are answered 4xx need a block of their own, as
always in `atomic`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import connections, transaction
from django.db.utils import Error as DjangoDatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils.module_loading import import_string

from troth.app import Troth
from troth.base.errors import UsageError
from troth.command import perform, request_refusals, request_rules, request_store
from troth.command.perform import Requests, idempotent
from troth.command.request_model import (
    Answer,
    Fate,
    Options,
    RequestRefusedError,
    Sent,
)
from troth.integrations.blocking import Command, Edge, Exchange, by_authorization, require_sound
from troth.integrations.django_transactions import DjangoSource, tx
from troth.store.failure import DatabaseError
from troth.store.plan import Statement
from troth.store.tx import BlockingTx, Row

__all__ = [
    "Command",
    "DjangoEdge",
    "DjangoSource",
    "IdempotencyMiddleware",
    "command",
    "idempotent",
    "operation",
    "tx",
]

_EXCHANGE = "_troth_exchange"


class DjangoEdge(Edge):
    """Requests of a Django project. *using*: the database of the ORM; *caller(request)*: who asks."""

    def __init__(
        self,
        requests: Requests,
        troth: Troth,
        *,
        using: str = "default",
        caller: Callable[[HttpRequest], str] | None = None,
        connections: int = 10,
    ) -> None:
        super().__init__(requests, troth, connections=connections)
        self.using = using
        self.caller = caller or (lambda r: by_authorization(r.headers.get("Authorization")))


def command(request: HttpRequest) -> Command:
    """The command of a request. Raises `UsageError` where there is none."""
    exchange: Exchange | None = getattr(request, _EXCHANGE, None)
    if exchange is None or exchange.command is None:
        msg = f"{request.method} {request.path} has no command: it changes nothing, is exempt, or the middleware is missing"
        raise UsageError(msg)
    return exchange.command


def operation(request: HttpRequest, run_id: object) -> HttpResponse:
    """The view of `operations/<uuid:run_id>`: what has become of an operation, for whoever began it."""
    edge = _edge()
    return _response(edge.find(str(run_id), edge.caller(request)))


class IdempotencyMiddleware:
    """Makes all views that change something idempotent by `Idempotency-Key`. Put it last, next to the views."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._edge = _edge()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            response = self._get_response(request)
            exchange: Exchange | None = getattr(request, _EXCHANGE, None)
            return response if exchange is None else _complete(exchange, response)
        finally:
            exchange = getattr(request, _EXCHANGE, None)
            if exchange is not None:
                exchange.leave()

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], _args: object, _kwargs: object
    ) -> HttpResponse | None:
        """Begin, before the view is called."""
        options = perform.options_of(view, self._edge.requests.options)
        if options.exempt or not request_rules.is_covered(request.method or ""):
            return None
        try:
            sent = self._read(request, options)
        except RequestRefusedError as refused:
            return _response(request_rules.refusal(refused))
        exchange = Exchange(self._edge, sent, options, _AtomicSession(self._edge.using))
        answer = exchange.begin(lambda: HttpResponse(status=202))
        if answer is not None:
            return _response(answer)
        setattr(request, _EXCHANGE, exchange)
        return None

    def _read(self, request: HttpRequest, options: Options) -> Sent:
        given = request.headers.get("Idempotency-Key")
        key = request_rules.parse_key([] if given is None else [given], required=options.required)
        length = request.headers.get("Content-Length") or ""
        if length.isdecimal() and int(length[:20]) > options.max_body:
            raise request_refusals.too_large(options.max_body)
        try:
            body = request.body
        except RequestDataTooBig:
            raise request_refusals.too_large(options.max_body) from None
        except UnreadablePostError:
            raise RequestRefusedError(400, "body_unreadable", "The body did not arrive.") from None
        if len(body) > options.max_body:
            raise request_refusals.too_large(options.max_body)
        match = request.resolver_match
        return Sent(
            request_rules.storable(self._edge.caller(request)),
            request_rules.storable(request.method or ""),
            request_rules.storable(match.route if match else request.path),
            request_rules.storable(request.path),
            request.META.get("QUERY_STRING", ""),
            request.content_type or "",
            body,
            key,
        )


class _AtomicSession:
    """A transaction of Django's own."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._atomic: Any = None

    def begin(self, requests: Requests, asked: tuple[bytes, int] | None) -> Row | None:
        atomic = transaction.atomic(using=self._using)
        try:
            atomic.__enter__()
        except DjangoDatabaseError as error:
            raise _cause(error) from error
        self._atomic = atomic
        raw = self.tx
        row = None
        if asked is not None:
            row = raw.execute(requests.queries.admit, asked).fetchone()
        raw.execute(request_store.SAVEPOINT)
        return row

    @property
    def tx(self) -> BlockingTx:
        wrapper = connections[self._using]
        wrapper.ensure_connection()
        raw = wrapper.connection
        if not hasattr(raw, "pipeline"):
            msg = (
                f"the database {self._using!r} of this project is not PostgreSQL through psycopg 3"
            )
            raise UsageError(msg)
        return raw  # type: ignore[no-any-return]

    def commit(self, fate: Fate, words: Sequence[Statement]) -> None:
        wrapper = connections[self._using]
        if wrapper.needs_rollback and fate is not Fate.REFUSAL:
            raise request_refusals.broken_transaction("INERROR")
        require_sound(wrapper.connection, fate)
        for each in words:
            self.tx.execute(each.query, each.params)
        wrapper.needs_rollback = False
        atomic, self._atomic = self._atomic, None
        try:
            atomic.__exit__(None, None, None)
        except DjangoDatabaseError as error:
            raise _cause(error) from error

    def leave(self) -> None:
        atomic, self._atomic = self._atomic, None
        if atomic is None:
            return
        transaction.set_rollback(True, using=self._using)
        try:
            atomic.__exit__(None, None, None)
        except DjangoDatabaseError:
            connections[self._using].close()


def _complete(exchange: Exchange, response: HttpResponse) -> HttpResponse:
    pieces: list[bytes] = []
    stream = response.streaming_content if response.streaming else [response.content]

    def kept() -> Any:
        for piece in stream:
            pieces.append(piece)
            yield piece

    headers = tuple((name.lower(), value) for name, value in response.items())
    answer = exchange.complete(response.status_code, headers, kept())
    if answer is not None:
        response.close()
        return _response(answer)
    if response.streaming:
        response.streaming_content = pieces
    return response


def _response(answer: Answer) -> HttpResponse:
    response = HttpResponse(answer.body, status=answer.status)
    for name in list(response.headers):
        del response[name]
    for name, value in answer.headers:
        response[name] = value
    return response


def _cause(error: DjangoDatabaseError) -> DatabaseError | DjangoDatabaseError:
    """The driver's error, which Django wraps."""
    return error.__cause__ if isinstance(error.__cause__, DatabaseError) else error


def _edge() -> DjangoEdge:
    edge: DjangoEdge = import_string(settings.TROTH_EDGE)
    return edge
