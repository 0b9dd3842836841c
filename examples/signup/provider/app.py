"""The ASGI application: the API under /v1, and the controls under paths that begin with /_."""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from examples.signup.outside.faults import Faults, Rule
from examples.signup.outside.serving import (
    Connection,
    Receive,
    Scope,
    Send,
    gone,
    head,
    read_body,
    respond,
    withhold,
)
from examples.signup.provider import idempotency
from examples.signup.provider.agenda import catch_up
from examples.signup.provider.authentication import authenticate
from examples.signup.provider.controls import Controls, Unknown
from examples.signup.provider.deliveries import Deliveries
from examples.signup.provider.endpoint import Endpoint
from examples.signup.provider.errors import ApiError, CardError
from examples.signup.provider.form import Tree, decode
from examples.signup.provider.idempotency import Claim, Saved, alive, fingerprint
from examples.signup.provider.resources import ENDPOINTS
from examples.signup.provider.session import API_VERSION, Session
from examples.signup.provider.store import Json, Store
from examples.signup.provider.wires import Bank, Wires

log = logging.getLogger("provider")

BEFORE = ("refuse_before", "http500_before", "http429")
"""Nothing is done."""

DURING = ("slow", "http500_during")
"""`slow` waits while the idempotency key is held. `http500_during` breaks: nothing is done, but the 500
is saved under the key."""

AFTER = ("hang_after", "timeout_after", "reset_after", "http500_after", "truncate_after")
"""The work is committed and the answer saved; the client does not get it."""


TICK = 1.0
"""Seconds between looks at the clock. A request looks too, so it never sees what is overdue."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    parameters: str
    id: str


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Provider:
    """The application. One instance owns the store, the fault rules and the keys under way."""

    def __init__(self, store: Store, bank: Bank | None = None) -> None:
        self._store = store
        self._faults = Faults(BEFORE + DURING + AFTER, ("method", "path"))
        self._under_way: set[tuple[str, str]] = set()
        self._deliveries = Deliveries(store)
        self._wires = Wires(store, bank) if bank else None
        self._controls = Controls(store, self._faults, self._deliveries)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if body is None:
            return
        method, path, query = scope["method"], scope["path"], scope["query_string"].decode()
        if path.startswith("/_"):
            answer = await self._control(method, path, query, body)
            await self._store.durable()
            await respond(send, answer.status, answer.body)
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        parameters = "&".join(filter(None, (query, body.decode(errors="replace"))))
        request = Request(method, path, headers, parameters, f"req_{secrets.token_hex(7)}")
        rule = self._faults.draw({"method": method, "path": path})
        answer = await self._answer(request, rule)
        catch_up(self._store)
        self._deliveries.wake()
        await self._store.durable()
        await deliver(answer, rule.kind if rule else None, scope, receive, send)

    # -- the API ---------------------------------------------------------------------------------

    async def _answer(self, request: Request, rule: Rule | None) -> Answer:
        """Do what the request asks for, and say what the answer is; it may never be delivered."""
        fault = rule.kind if rule else None
        name, did = f"{request.method} (unknown)", "rejected"
        try:
            endpoint, ids = ENDPOINTS.find(request.method, request.path)
            name = endpoint.name
            if fault in BEFORE:
                did = "nothing"
                raise broken(fault)
            api_key = authenticate(request.headers)
            tree = decode(request.parameters)
            claim = claimed(request, endpoint, api_key, tree)
            if claim and (saved := self._saved(claim)):
                self._count(name, "replayed", told(fault, saved.status))
                return replayed(request, claim, saved)
            params = {**endpoint.form.read(tree), **ids}
            with self._holding(claim):
                if rule is not None and fault == "slow":
                    await asyncio.sleep(rule.seconds)
                return self._execute(request, endpoint, params, claim, fault)
        except ApiError as error:
            self._count(name, did, told(fault, error.status))
            return dressed(request, error.status, encode(error.body), retry_after(fault))

    def _saved(self, claim: Claim) -> Saved | None:
        """The answer that the key already has. Raises `ApiError` if the key may not be used so."""
        saved = alive(self._store.saved(claim), self._store.now())
        under_way = (claim.api_key, claim.key) in self._under_way
        if refusal := idempotency.refusal(claim, saved, under_way=under_way):
            raise refusal
        return saved

    @contextmanager
    def _holding(self, claim: Claim | None) -> Iterator[None]:
        """While inside, another request with the key is a conflict."""
        if claim is None:
            yield
            return
        holding = (claim.api_key, claim.key)
        self._under_way.add(holding)
        try:
            yield
        finally:
            self._under_way.discard(holding)

    def _execute(
        self,
        request: Request,
        endpoint: Endpoint,
        params: Json,
        claim: Claim | None,
        fault: str | None,
    ) -> Answer:
        """The work, the saved answer and the count: together, or not at all."""
        store = self._store
        catch_up(store)
        session = Session(store, store.now(), request.id, claim.key if claim else None)
        with store.work():
            did, status, body = self._work(session, endpoint, params, fault)
            if claim:
                facts = (claim.endpoint, claim.fingerprint, status, body, request.id, session.now)
                store.save(claim, Saved(*facts))
            store.count(endpoint.name, did, told(fault, status))
        headers = {"idempotency-key": claim.key, "original-request": request.id} if claim else {}
        return dressed(request, status, body, headers)

    def _count(self, endpoint: str, did: str, told: str) -> None:
        with self._store.work():
            self._store.count(endpoint, did, told)

    def _work(
        self, session: Session, endpoint: Endpoint, params: Json, fault: str | None
    ) -> tuple[str, int, bytes]:
        """What was done, and the answer. An error undoes the work, unless it is the bank's."""
        self._store.mark()
        try:
            thing = endpoint.handler(session, params)
            thing = session.expand(thing, params.get("expand", []))
        except CardError as error:
            return "declined", error.status, encode(error.body)
        except ApiError as error:
            self._store.back_to_mark()
            return "failed", error.status, encode(error.body)
        except Exception:
            log.exception("%s broke; this is a defect of the server", endpoint.name)
            self._store.back_to_mark()
            return "failed", 500, encode(broken(None).body)
        if fault == "http500_during":
            self._store.back_to_mark()
            return "failed", 500, encode(broken(fault).body)
        return "read" if endpoint.method == "GET" else "executed", 200, encode(thing)

    async def _control(self, method: str, path: str, query: str, body: bytes) -> Answer:
        try:
            shown = await self._controls.turn(method, path, query, body)
        except Unknown as error:
            return control_error(404, str(error))
        except ValueError as error:
            return control_error(400, str(error))
        return Answer(200, encode(shown))

    # -- the background --------------------------------------------------------------------------

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """While inside, the clock brings what is due, and webhooks and wires are delivered."""
        works = {"the clock": self._tick(), "the deliveries": self._deliveries.run()}
        if self._wires is not None:
            works["the wires"] = self._wires.run()
        tasks = [asyncio.create_task(reported(*one)) for one in works.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            if catch_up(self._store):
                self._deliveries.wake()
            if self._wires is not None:
                self._wires.wake()
            await asyncio.sleep(TICK)


async def reported(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Work in the background; if it breaks, the log says so."""
    try:
        await work
    except Exception:
        log.exception("%s broke and stopped; start the provider again", name)
        raise


async def deliver(
    answer: Answer, kind: str | None, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send the answer, or what the fault makes of it."""
    connection: Connection = scope["state"]["connection"]
    match kind:
        case "refuse_before":
            connection.drop()
        case "reset_after":
            connection.reset()
        case "hang_after" | "timeout_after":
            await withhold(scope, receive)
        case "truncate_after":
            start = {"type": "http.response.start", "status": answer.status}
            await send({**start, "headers": head(answer.body, answer.headers)})
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            connection.finish()
            await gone(receive)
        case "http500_after":
            await respond(send, 500, encode(broken(kind).body), answer.headers)
        case _:
            await respond(send, answer.status, answer.body, answer.headers)


def claimed(
    request: Request, endpoint: Endpoint, api_key: str, tree: Mapping[str, Tree]
) -> Claim | None:
    """The request's use of an idempotency key; only POST has one."""
    key = request.headers.get("idempotency-key")
    if not key or request.method != "POST":
        return None
    return Claim(api_key, key, endpoint.name, fingerprint(request.path, tree))


def replayed(request: Request, claim: Claim, saved: Saved) -> Answer:
    headers = {
        "idempotency-key": claim.key,
        "idempotent-replayed": "true",
        "original-request": saved.request_id,
    }
    return dressed(request, saved.status, saved.body, headers)


def dressed(request: Request, status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    return Answer(
        status, body, {"request-id": request.id, "stripe-version": API_VERSION, **headers}
    )


def told(fault: str | None, status: int) -> str:
    """What the client is told: the status, or the fault that keeps it from the answer."""
    return fault if fault in BEFORE or fault in AFTER else str(status)


def broken(fault: str | None) -> ApiError:
    """The error that a fault, or a defect, answers with."""
    if fault == "http429":
        message = "Request rate limit exceeded. You can learn more about rate limits in the docs."
        return ApiError(429, message, code="rate_limit")
    message = "An unknown error occurred on the provider's side."
    return ApiError(500, message, kind="api_error")


def retry_after(fault: str | None) -> Mapping[str, str]:
    return {"retry-after": "1"} if fault == "http429" else {}


def control_error(status: int, message: str) -> Answer:
    return Answer(status, encode({"error": message}))


def encode(value: object) -> bytes:
    return json.dumps(value).encode()
