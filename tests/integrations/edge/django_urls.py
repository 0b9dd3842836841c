"""The shop's views in Django."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from tests.integrations.edge import frameworks
from tests.integrations.edge.shop import conflict
from troth.base.errors import KeyConflictError
from troth.integrations import django as adapter
from troth.store.plan import carry_out_blocking


class Errors:
    """The project's own answer to an exception of a view."""

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self._get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> Any:
        if isinstance(error, KeyConflictError):
            return JsonResponse(conflict(error), status=422)
        return None


def things(request: HttpRequest, _ident: str = "") -> Any:
    command = adapter.command(request)
    body = json.loads(request.body)
    tx = None if body.get("do") == "reject" else command.tx
    plan = frameworks.shop_of_django.work(command, body)
    status, answer = carry_out_blocking(tx, plan)
    headers = {"set-cookie": frameworks.COOKIE, "x-shop": "open"}
    return JsonResponse(answer, status=status, headers=headers)


@adapter.idempotent(required=False)
def optional(request: HttpRequest) -> Any:
    return things(request)


@adapter.idempotent(exempt=True)
def exempt(_request: HttpRequest) -> Any:
    return JsonResponse({}, status=201)


def orders(request: HttpRequest) -> Any:
    shop = frameworks.shop_of_django
    command = adapter.command(request)
    run = command.start(shop.order, json.loads(request.body)["name"])
    return command.operation(run, wait=shop.wait, render=shop.receipt)


def keyed(request: HttpRequest) -> Any:
    shop = frameworks.shop_of_django
    command = adapter.command(request)
    body = json.loads(request.body)
    _, answer = carry_out_blocking(command.tx, shop.work(command, body))
    run = command.start(shop.order, body["name"], key="one")
    return JsonResponse(answer | {"run": str(run)}, status=201)


def orm(request: HttpRequest) -> Any:
    """Writes through Django's own connection, as models do."""
    body = json.loads(request.body)
    command = adapter.command(request)
    if body["do"] != "untouched":
        assert command.tx
    insert = f"INSERT INTO {frameworks.shop_of_django.troth.schema}.thing (name) VALUES (%s)"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(insert, (body["name"],))
    except IntegrityError:
        return JsonResponse({"no": "there is one"}, status=409)
    if body["do"] == "crash":
        raise RuntimeError("a bug")
    if body["do"] == "swallow":
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")
    if body["do"] == "give up":
        with suppress(RuntimeError), transaction.atomic(savepoint=False):
            raise RuntimeError("which marks the whole transaction")
    if body["do"] == "keep":
        command.keep()
    status = {"refuse": 403, "keep": 403}.get(body["do"], 201)
    return JsonResponse({"name": body["name"]}, status=status)


urlpatterns = [
    path("keyed", keyed),
    path("orm", orm),
    path("things", things),
    path("things/<_ident>", things),
    path("optional", optional),
    path("exempt", exempt),
    path("orders", orders),
    path("operations/<uuid:run_id>", adapter.operation),
]
