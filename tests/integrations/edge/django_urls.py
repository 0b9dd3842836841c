"""The shop's views in Django."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import path

from tests.integrations.edge import frameworks
from troth.integrations import django as adapter
from troth.store.plan import carry_out_blocking


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


urlpatterns = [
    path("things", things),
    path("things/<_ident>", things),
    path("optional", optional),
    path("exempt", exempt),
    path("orders", orders),
    path("operations/<uuid:run_id>", adapter.operation),
]
