"""Idempotent requests for Flask.

Idempotency(app, requests=requests, troth=troth)

@app.post("/v1/accounts")
def create():
    command = current_command()
    command.tx.execute("INSERT …")
    return {"id": 1}, 201
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from troth.app import Troth
from troth.base.errors import UsageError
from troth.command import perform, request_refusals, request_rules
from troth.command.perform import Requests, idempotent
from troth.command.request_model import Answer, Options, RequestRefusedError, Sent
from troth.integrations.blocking import Command, Edge, Exchange, PooledSession, by_authorization

__all__ = ["Command", "Idempotency", "current_command", "idempotent"]

_EXCHANGE = "troth_exchange"


def current_command() -> Command:
    """The command of the request that is handled. Raises `UsageError` where there is none."""
    exchange: Exchange | None = g.get(_EXCHANGE)
    if exchange is None or exchange.command is None:
        msg = f"{request.method} {request.path} has no command: it changes nothing, is exempt, or the app has no Idempotency"
        raise UsageError(msg)
    return exchange.command


class Idempotency:
    """Makes all handlers of *app* that change something idempotent by `Idempotency-Key`.

    Make it before other extensions, so that the answer that it keeps is the one that is sent. *caller(request)* says who
    asks. *operations*: serve `GET /operations/{run id}`.
    """

    def __init__(
        self,
        app: Flask,
        *,
        requests: Requests,
        troth: Troth,
        caller: Callable[[Request], str] | None = None,
        connections: int = 10,
        operations: bool = True,
    ) -> None:
        self.edge = Edge(requests, troth, connections=connections)
        self._caller = caller or (lambda r: by_authorization(r.headers.get("Authorization")))
        self._app = app
        app.before_request(self._begin)
        app.after_request(self._complete)
        app.teardown_request(self._leave)
        if operations:
            app.add_url_rule(f"{requests.operations}/<run_id>", "troth_operation", self._operation)

    def close(self) -> None:
        """Close the connections."""
        self.edge.close()

    def _begin(self) -> Response | None:
        rule = request.url_rule
        if rule is None or not request_rules.is_covered(request.method):
            return None
        handler = self._app.view_functions.get(rule.endpoint)
        options = perform.options_of(handler, self.edge.requests.options)
        if options.exempt:
            return None
        try:
            sent = self._read(rule.rule, options)
        except RequestRefusedError as refused:
            return _response(request_rules.refusal(refused))
        exchange = Exchange(self.edge, sent, options, PooledSession(self.edge))
        answer = exchange.begin(lambda: Response(status=202))
        if answer is not None:
            return _response(answer)
        setattr(g, _EXCHANGE, exchange)
        return None

    def _read(self, route: str, options: Options) -> Sent:
        keys = request.headers.getlist("Idempotency-Key")
        key = request_rules.parse_key(keys, required=options.required)
        if (request.content_length or 0) > options.max_body:
            raise request_refusals.too_large(options.max_body)
        request.max_content_length = options.max_body
        try:
            body = request.get_data(cache=True)
        except RequestEntityTooLarge:
            raise request_refusals.too_large(options.max_body) from None
        return Sent(
            request_rules.storable(self._caller(request)),
            request_rules.storable(request.method),
            request_rules.storable(route),
            request_rules.storable(request.path),
            request.query_string.decode("latin-1"),
            request.mimetype,
            body,
            key,
        )

    def _complete(self, response: Response) -> Response:
        exchange: Exchange | None = g.pop(_EXCHANGE, None)
        if exchange is None:
            return response
        response.direct_passthrough = False
        pieces: list[bytes] = []

        def kept() -> Any:
            for piece in response.iter_encoded():
                pieces.append(piece)
                yield piece

        headers = tuple((name.lower(), value) for name, value in response.headers)
        answer = exchange.complete(response.status_code, headers, kept())
        if answer is not None:
            response.close()
            return _response(answer)
        response.response = pieces
        return response

    def _leave(self, _error: BaseException | None) -> None:
        exchange: Exchange | None = g.pop(_EXCHANGE, None)
        if exchange is not None:
            exchange.leave()

    def _operation(self, run_id: str) -> Response:
        return _response(self.edge.find(run_id, self._caller(request)))


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.headers.clear()
    response.headers.extend(answer.headers)
    return response
