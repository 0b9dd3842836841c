"""Idempotency-Key by the rules of Stripe's v1 API."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import httpx
import pytest
import stripe

from tests.examples.provider.process import ROOT

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)

DAY = 24 * 60 * 60


def create(client, key, **params):
    return client.v1.customers.create(
        {"metadata": {"key": key}, **params}, {"idempotency_key": key}
    )


async def create_async(client, key):
    params = {"metadata": {"key": key}}
    return await client.v1.customers.create_async(params, {"idempotency_key": key})


def test_the_same_key_gives_the_same_answer(provider, client, key):
    first, second = create(client, key, email="a@b.c"), create(client, key, email="a@b.c")
    assert first.to_dict() == second.to_dict()
    headers = second.last_response.headers
    assert headers["idempotent-replayed"] == "true"
    assert headers["original-request"] == first.last_response.request_id
    assert headers["request-id"] != first.last_response.request_id
    assert "idempotent-replayed" not in first.last_response.headers
    assert len(provider.truth("customer", key=key)) == 1


def test_other_parameters_are_an_error(provider, client, key):
    create(client, key, email="a@b.c")
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as raised:
        create(client, key, email="x@y.z")
    assert raised.value.http_status == 400
    assert len(provider.truth("customer", key=key)) == 1


def test_another_endpoint_is_an_error(client, key):
    create(client, key)
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.products.create({"name": "x"}, {"idempotency_key": key})


def test_keys_belong_to_an_api_key(provider, connect, key):
    first = create(connect(provider), key)
    second = create(connect(provider, api_key="sk_test_other"), key)
    assert first.id != second.id


def test_a_key_is_forgotten_after_24_hours(own, connect, key):
    client = connect(own)
    first = create(client, key)
    own.advance(DAY - 60)
    assert create(client, key).id == first.id
    own.advance(61)
    assert create(client, key, email="free@to.differ").id != first.id
    assert len(own.truth("customer", key=key)) == 2


async def test_a_key_under_way_is_a_conflict(provider, connect, key):
    client = connect(provider)
    provider.fault("slow", seconds=1.5, count=1)
    first = asyncio.create_task(create_async(client, key))
    await asyncio.to_thread(provider.until_fired)
    with pytest.raises(stripe.APIError) as raised:
        await create_async(client, key)
    assert raised.value.http_status == 409
    assert raised.value.json_body["error"]["code"] == "idempotency_key_in_use"
    customer = await first
    assert (await create_async(client, key)).id == customer.id  # the conflict was not saved
    assert len(provider.truth("customer", key=key)) == 1


def test_invalid_parameters_are_not_saved(client, key):
    with pytest.raises(stripe.InvalidRequestError):
        create(client, key, colour="red")
    assert create(client, key).id


def test_an_unauthorized_request_is_not_saved(provider, connect, key):
    with pytest.raises(stripe.AuthenticationError):
        create(connect(provider, api_key="pk_wrong"), key)
    assert create(connect(provider), key).id


def test_a_rate_limited_request_is_not_saved(provider, client, key):
    provider.fault("http429", count=1)
    with pytest.raises(stripe.RateLimitError):
        create(client, key)
    assert create(client, key).id


def test_an_error_after_execution_began_is_saved(provider, client, key):
    options = {"idempotency_key": key}
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as raised:
            client.v1.refunds.create({"payment_intent": "pi_none"}, options)
        assert raised.value.code == "resource_missing"
    assert raised.value.headers["idempotent-replayed"] == "true"


def test_a_declined_card_is_saved(provider, client, key):
    params = {
        "amount": 700,
        "currency": "usd",
        "confirm": True,
        "payment_method": "pm_card_chargeDeclined",
        "metadata": {"key": key},
    }
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            client.v1.payment_intents.create(params, {"idempotency_key": key})
    (row,) = provider.truth("payment_intent", key=key)
    assert row["object"]["status"] == "requires_payment_method"


def test_a_500_of_the_endpoint_is_saved(provider, connect, key):
    provider.fault("http500_during", count=1)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as raised:
            create(connect(provider), key)
        assert raised.value.http_status == 500
    assert raised.value.headers["idempotent-replayed"] == "true"
    assert provider.truth("customer", key=key) == []


def test_objects_keys_and_clock_survive_kill_9(own, connect, key):
    own.advance(1000)
    own.fault("reset_after", count=1)
    with pytest.raises(stripe.APIConnectionError):
        create(connect(own), key)
    assert own.stop(signal.SIGKILL) == -signal.SIGKILL
    own.start()
    customer = create(connect(own), key)
    assert customer.last_response.headers["idempotent-replayed"] == "true"
    assert [row["id"] for row in own.truth("customer")] == [customer.id]
    assert own.requests("executed", "reset_after") == 1


async def test_sigterm_stops_cleanly_even_while_an_answer_is_withheld(own, connect, key):
    own.fault("hang_after", count=1)
    call = asyncio.create_task(create_async(connect(own, timeout=30), key))
    await asyncio.to_thread(own.until_fired)
    assert await asyncio.to_thread(own.stop) == 0
    with pytest.raises(stripe.APIConnectionError):
        await call
    own.start()
    assert len(own.truth("customer", key=key)) == 1


def test_a_second_process_may_not_open_the_file(own):
    own.truth("customer")
    second = subprocess.run(
        [sys.executable, "-m", "examples.signup.provider", f"--data={own._data}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 1
    assert "locked" in second.stderr


async def test_what_was_acknowledged_survives_kill_9_under_load(own):
    acknowledged: list[str] = []
    enough = asyncio.Event()
    auth = {"authorization": "Bearer sk_test_x"}

    async def create_until_it_dies(http):
        while True:
            answer = await http.post("/v1/customers", data={"name": "x"})
            acknowledged.append(answer.json()["id"])
            if len(acknowledged) >= 200:
                enough.set()

    async with httpx.AsyncClient(base_url=own.url, headers=auth, verify=False) as http:
        users = [asyncio.create_task(create_until_it_dies(http)) for _ in range(20)]
        await asyncio.wait_for(enough.wait(), 20)
        await asyncio.to_thread(own.stop, signal.SIGKILL)
        ends = await asyncio.gather(*users, return_exceptions=True)
    assert all(isinstance(end, httpx.TransportError) for end in ends)
    own.start()
    rows = own.truth("customer")
    assert set(acknowledged) <= {row["id"] for row in rows}
    assert len(acknowledged) <= len(rows) <= len(acknowledged) + len(users)
    assert own.requests("executed", "200") == len(rows)
