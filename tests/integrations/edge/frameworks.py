"""The same shop in every framework, and one way to talk to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse as StarletteJSON
from starlette.routing import Mount, Route
from werkzeug.test import Client

from tests.integrations.edge.shop import Reply, Shop, conflict
from troth.base.errors import KeyConflictError
from troth.integrations import asgi
from troth.integrations import fastapi as adapter
from troth.store.plan import carry_out, carry_out_blocking

COOKIE = "session=secret"


def caller_of(headers: Any) -> str:
    return headers.get("x-user", "nobody")


def asgi_caller(scope: Any) -> str:
    return dict(scope["headers"]).get(b"x-user", b"nobody").decode("latin-1")


class AsgiSite:
    def __init__(self, app: Any) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://shop")

    async def send(
        self, method: str, path: str, body: bytes, headers: list[tuple[str, str]]
    ) -> Reply:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        answer = await self.http.request(method, path, content=body, headers=raw)
        return Reply(answer.status_code, answer.headers.multi_items(), answer.content)


class WsgiSite:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def send(
        self, method: str, path: str, body: bytes, headers: list[tuple[str, str]]
    ) -> Reply:
        def call() -> Reply:
            client = Client(self.app, use_cookies=False)
            answer = client.open(path, method=method, data=body, headers=headers)
            reply = Reply(answer.status_code, list(answer.headers), answer.get_data())
            answer.close()  # which tells the framework that the request has ended
            return reply

        return await asyncio.to_thread(call)


@asynccontextmanager
async def starlette_site(shop: Shop) -> AsyncIterator[AsgiSite]:
    def exempt(_request: Request) -> Any:
        return StarletteJSON({}, 201)

    async def things(request: Request) -> Any:
        command = request.scope[asgi.COMMAND]
        body = await request.json()
        tx: Any = None if body.get("do") == "reject" else command.tx
        status, answer = await carry_out(tx, shop.work(command, body))
        return StarletteJSON(answer, status, {"set-cookie": COOKIE, "x-shop": "open"})

    @asgi.idempotent(required=False)
    async def optional(request: Request) -> Any:
        return await things(request)

    async def orders(request: Request) -> Any:
        command = request.scope[asgi.COMMAND]
        run = await command.start(shop.order, (await request.json())["name"])
        return command.operation(run, wait=shop.wait, render=shop.receipt)

    async def keyed(request: Request) -> Any:
        command = request.scope[asgi.COMMAND]
        body = await request.json()
        _, answer = await carry_out(command.tx, shop.work(command, body))
        run = await command.start(shop.order, body["name"], key="one")
        return StarletteJSON(answer | {"run": str(run.id)}, 201)

    async def refuse(_request: Request, error: Any) -> Any:
        return StarletteJSON(conflict(error), 422)

    app = Starlette(
        exception_handlers={KeyConflictError: refuse},
        routes=[
            Route("/keyed", keyed, methods=["POST"]),
            Route("/things", things, methods=["POST"]),
            Route("/things/{id}", things, methods=["POST", "GET"]),
            Route("/optional", optional, methods=["POST"]),
            Route("/exempt", asgi.idempotent(exempt=True)(exempt), methods=["POST"]),
            Route("/orders", orders, methods=["POST"]),
            Mount(
                "/operations",
                asgi.OperationEndpoint(shop.requests, shop.troth, caller=asgi_caller),
            ),
        ],
    )
    app.add_middleware(
        asgi.IdempotencyMiddleware, requests=shop.requests, troth=shop.troth, caller=asgi_caller
    )
    yield AsgiSite(app)


Given = Annotated[adapter.Command, Depends(adapter.command)]


class Thing(BaseModel):
    name: str
    do: str = "ok"
    price: dict[str, Any] | None = None
    last: str | None = None


class Created(BaseModel):
    id: int


@asynccontextmanager
async def fastapi_site(shop: Shop) -> AsyncIterator[AsgiSite]:
    from fastapi import APIRouter

    router = APIRouter()

    @router.post("/things")
    @router.post("/things/{ident}")
    async def things(body: Thing, command: Given, ident: int = 0) -> Any:
        if body.do == "reject":
            return JSONResponse({}, 400)
        plan = shop.work(command, body.model_dump())
        status, answer = await carry_out(command.tx, plan)
        return JSONResponse(answer, status, {"set-cookie": COOKIE, "x-shop": "open"})

    @router.post("/optional")
    @adapter.idempotent(required=False)
    async def optional(body: Thing, command: Given) -> Any:
        return await things(body, command)

    @router.post("/exempt", status_code=201)
    @adapter.idempotent(exempt=True)
    async def exempt() -> None: ...

    @router.post("/orders")
    async def orders(body: Thing, command: Given) -> Created:
        run = await command.start(shop.order, body.name)
        return command.operation(run, wait=shop.wait, render=shop.receipt)

    @router.post("/keyed", status_code=201)
    async def keyed(body: Thing, command: Given) -> Any:
        _, answer = await carry_out(command.tx, shop.work(command, body.model_dump()))
        run = await command.start(shop.order, body.name, key="one")
        return answer | {"run": str(run.id)}

    app = FastAPI()
    app.include_router(router)

    @app.exception_handler(KeyConflictError)
    async def refuse(_request: Request, error: KeyConflictError) -> JSONResponse:
        return JSONResponse(conflict(error), 422)

    app.mount(
        "/operations", adapter.OperationEndpoint(shop.requests, shop.troth, caller=asgi_caller)
    )
    app.add_middleware(
        adapter.IdempotencyMiddleware, requests=shop.requests, troth=shop.troth, caller=asgi_caller
    )
    yield AsgiSite(app)


@asynccontextmanager
async def flask_site(shop: Shop) -> AsyncIterator[WsgiSite]:
    from flask import Flask, request

    from troth.integrations import flask as adapter

    app = Flask("shop")
    edge = adapter.Idempotency(
        app,
        requests=shop.requests,
        troth=shop.troth,
        caller=lambda r: caller_of(r.headers),
        connections=20,
    )

    @app.post("/things")
    @app.post("/things/<ident>")
    def things(ident: str = "") -> Any:
        command = adapter.current_command()
        body = request.get_json()
        tx = None if body.get("do") == "reject" else command.tx
        status, answer = carry_out_blocking(tx, shop.work(command, body))
        return answer, status, {"set-cookie": COOKIE, "x-shop": "open"}

    @app.post("/optional")
    @adapter.idempotent(required=False)
    def optional() -> Any:
        return things()

    @app.post("/exempt")
    @adapter.idempotent(exempt=True)
    def exempt() -> Any:
        return {}, 201

    @app.post("/orders")
    def orders() -> Any:
        command = adapter.current_command()
        run = command.start(shop.order, request.get_json()["name"])
        return command.operation(run, wait=shop.wait, render=shop.receipt)

    @app.post("/keyed")
    def keyed() -> Any:
        command = adapter.current_command()
        body = request.get_json()
        _, answer = carry_out_blocking(command.tx, shop.work(command, body))
        run = command.start(shop.order, body["name"], key="one")
        return answer | {"run": str(run)}, 201

    @app.errorhandler(KeyConflictError)
    def refuse(error: KeyConflictError) -> Any:
        return conflict(error), 422

    try:
        yield WsgiSite(app)
    finally:
        edge.close()


edge: Any = None  # named in the settings of Django
shop_of_django: Any = None


@asynccontextmanager
async def django_site(shop: Shop) -> AsyncIterator[WsgiSite]:
    global edge, shop_of_django
    from django.conf import settings
    from psycopg.conninfo import conninfo_to_dict

    if not settings.configured:
        parts = conninfo_to_dict(shop.troth.url or "")
        settings.configure(
            DEBUG=False,
            SECRET_KEY="test",
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF="tests.integrations.edge.django_urls",
            MIDDLEWARE=[
                "tests.integrations.edge.django_urls.Errors",
                "troth.integrations.django.IdempotencyMiddleware",
            ],
            TROTH_EDGE="tests.integrations.edge.frameworks.edge",
            USE_TZ=True,
            LOGGING_CONFIG=None,
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": parts["dbname"],
                    "USER": parts.get("user", ""),
                    "PASSWORD": parts.get("password", ""),
                    "HOST": parts.get("host", ""),
                    "PORT": str(parts.get("port", "")),
                }
            },
        )
        import django

        django.setup()
    from django.core.handlers.wsgi import WSGIHandler

    from troth.integrations.django import DjangoEdge

    edge = DjangoEdge(shop.requests, shop.troth, caller=lambda r: caller_of(r.headers))
    shop_of_django = shop
    try:
        yield WsgiSite(WSGIHandler())
    finally:
        edge.close()


SITES = {
    "starlette": starlette_site,
    "fastapi": fastapi_site,
    "flask": flask_site,
    "django": django_site,
}


def encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()
