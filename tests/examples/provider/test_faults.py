"""Every fault through the official SDK: what it raises, and what the provider really did."""

from __future__ import annotations

import re
import socket

import httpx
import pytest
import stripe

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)

# fault, the SDK's error without retries, objects then; outcome with two retries, objects then
FAULTS = [
    ("refuse_before", stripe.APIConnectionError, 0, None, 1),
    ("http500_before", stripe.APIError, 0, None, 1),
    ("http500_during", stripe.APIError, 0, stripe.APIError, 0),
    ("http429", stripe.RateLimitError, 0, stripe.RateLimitError, 0),
    ("hang_after", stripe.APIConnectionError, 1, None, 1),
    ("timeout_after", stripe.APIConnectionError, 1, None, 1),
    ("reset_after", stripe.APIConnectionError, 1, None, 1),
    ("http500_after", stripe.APIError, 1, None, 1),
    ("truncate_after", stripe.APIConnectionError, 1, stripe.APIConnectionError, 1),
]
FLAVOURS = pytest.mark.parametrize("flavour", ["sync", "async"])


async def create(client, flavour, key):
    params = {"email": "ada@example.com", "metadata": {"key": key}}
    if flavour == "sync":
        return client.v1.customers.create(params, {"idempotency_key": key})
    return await client.v1.customers.create_async(params, {"idempotency_key": key})


@FLAVOURS
@pytest.mark.parametrize(("fault", "error", "objects"), [row[:3] for row in FAULTS])
async def test_without_retries(provider, connect, key, flavour, fault, error, objects):
    client = connect(provider, timeout=0.5)
    provider.fault(fault, match={"path": "^/v1/customers$"}, count=1)
    with pytest.raises(error):
        await create(client, flavour, key)
    assert len(provider.truth("customer", key=key)) == objects
    assert provider.faults()[0]["fired"] == 1


@FLAVOURS
@pytest.mark.parametrize(("fault", "error", "objects"), [(f, e, n) for f, _, _, e, n in FAULTS])
async def test_with_two_retries(provider, connect, key, flavour, fault, error, objects):
    client = connect(provider, retries=2, timeout=0.5)
    provider.fault(fault, match={"method": "POST"}, count=1)
    if (flavour, fault) == ("async", "truncate_after"):
        error = None  # by httpx, the SDK repeats what it gives up on by requests
    if error is None:
        customer = await create(client, flavour, key)
        (row,) = provider.truth("customer", key=key)
        assert (row["id"], row["idempotency_key"]) == (customer.id, key)
    else:
        with pytest.raises(error):
            await create(client, flavour, key)
    assert len(provider.truth("customer", key=key)) == objects


def exchange(provider, body=b"", announced=None):
    """A POST by hand, and all bytes that come back."""
    with socket.create_connection(("127.0.0.1", provider.ports["port"]), timeout=5) as raw:
        raw.sendall(
            b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk_test_x\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body) if announced is None else announced, body)
        )
        if announced is not None:
            raw.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := raw.recv(65536):
            received += chunk
        return received


def test_on_the_wire_a_reset_is_a_reset_and_a_refusal_a_close(provider):
    provider.fault("reset_after", count=1)
    with pytest.raises(ConnectionResetError):
        exchange(provider)
    provider.fault("refuse_before", count=1)
    assert exchange(provider) == b""


def test_a_truncated_answer_is_shorter_than_announced(provider):
    provider.fault("truncate_after", count=1)
    head, _, body = exchange(provider).partition(b"\r\n\r\n")
    (length,) = re.findall(rb"content-length: (\d+)", head)
    assert 0 < len(body) < int(length)


def test_half_a_request_is_no_request(provider, key):
    body = f"metadata[key]={key}".encode()
    exchange(provider, body, announced=len(body) + 1)
    assert provider.truth("customer", key=key) == []


def test_what_happened_and_what_was_told_are_both_counted(own, connect, key):
    own.fault("hang_after", count=1)
    customer = connect(own, retries=1, timeout=0.5).v1.customers.create(
        {"metadata": {"key": key}}, {"idempotency_key": key}
    )
    assert own.requests("executed", "hang_after") == 1
    assert own.requests("replayed", "200") == 1
    assert [row["id"] for row in own.truth("customer")] == [customer.id]


def test_rate_limit_says_when_to_come_back(provider, client):
    provider.fault("http429")
    with pytest.raises(stripe.RateLimitError) as raised:
        client.v1.customers.list()
    assert raised.value.headers["retry-after"] == "1"


def test_slow_answers_late(provider, connect):
    provider.fault("slow", seconds=1)
    with pytest.raises(stripe.APIConnectionError):
        connect(provider, timeout=0.3).v1.customers.list()
    assert connect(provider).v1.customers.list().object == "list"


def test_the_same_seed_gives_the_same_faults(provider, connect):
    def outcomes():
        provider.behave()
        provider.fault("http500_before", probability=0.5, seed=7)
        told = []
        for _ in range(12):
            try:
                connect(provider).v1.products.list()
                told.append(True)
            except stripe.APIError:
                told.append(False)
        return told

    first = outcomes()
    assert outcomes() == first
    assert {True, False} == set(first)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"kind": "unheard_of"},
        {"kind": "slow", "seconds": -1},
        {"kind": "slow", "probability": 2},
        {"kind": "slow", "count": 0},
        {"kind": "slow", "match": {"path": "("}},
        {"kind": "slow", "match": {"body": "x"}},
        {"kind": "slow", "when": "always"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(provider, rule):
    answer = httpx.post(f"{provider.url}/_faults", json=rule)
    assert (answer.status_code, provider.faults()) == (400, [])
    assert answer.json()["error"]
