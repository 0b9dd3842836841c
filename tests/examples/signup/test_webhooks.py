"""Where the provider's events come in: whatever is sent there, nothing is stored that was not signed."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from examples.signup.provider.signing import signature
from examples.signup.subscription import stripe_events
from troth.inbox import StripeSignatures

Rows = Callable[..., list[tuple[Any, ...]]]
STORED = (
    "SELECT (SELECT count(*) FROM troth.inbox_event), (SELECT count(*) FROM troth.inbox_object)"
)
URL = "/webhooks/stripe"
SECRET = "whsec_of_this_test"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(stripe_events._intake, scheme=StripeSignatures([SECRET]))
    monkeypatch.setattr(stripe_events, "_intake", known)


async def test_a_thousand_bodies_of_any_bytes(http: httpx.AsyncClient, rows: Rows) -> None:
    chance = random.Random(20)
    statuses: Counter[int] = Counter()
    for _ in range(1000):
        headers = {"stripe-signature": signed_by_chance(chance), "content-type": kind(chance)}
        chosen = dict(chance.sample(sorted(headers.items()), chance.randint(0, 2)))
        body = chance.randbytes(chance.choice([0, 1, 10, 100, 1000, 20_000]))
        answer = await http.post(URL, content=body, headers=chosen)
        statuses[answer.status_code] += 1

    assert all(400 <= status < 500 for status in statuses), statuses
    assert statuses.total() == 1000
    assert rows(STORED) == [(0, 0)]


def signed_by_chance(chance: random.Random) -> bytes:
    now = int(time.time())
    return chance.choice(
        [
            b"",
            b"t=,v1=",
            b"t=%d,v1=%s" % (now, chance.randbytes(32).hex().encode()),
            b"t=%d" % (10**30),
            b"v1=" + b"0" * 64,
            b"t=-1,v1=" + b"\xff" * 10,
            signature("whsec_another", b"", now).encode(),
            bytes(chance.choices(range(0x80, 0x100), k=20)),
        ]
    )


def kind(chance: random.Random) -> bytes:
    return chance.choice(
        [b"application/json", b"text/plain", b"", b"application/json; charset=\xff"]
    )


def event(ident: str = "evt_1") -> bytes:
    content = {"id": "sub_1", "object": "subscription"}
    told = {"id": ident, "object": "event", "type": "customer.subscription.updated", "created": 1}
    return json.dumps(told | {"data": {"object": content}}).encode()


async def deliver(http: httpx.AsyncClient, body: bytes, *, age_s: int = 0) -> httpx.Response:
    signed = signature(SECRET, body, int(time.time()) - age_s)
    return await http.post(URL, content=body, headers={"stripe-signature": signed})


async def test_a_signed_event_is_taken_in_once(http: httpx.AsyncClient, rows: Rows) -> None:
    first, again = [await deliver(http, event()) for _ in range(2)]

    assert (first.status_code, first.json()["outcome"]) == (202, "new")
    assert (again.status_code, again.json()["outcome"]) == (200, "duplicate")
    assert rows(STORED) == [(1, 1)]
    assert rows("SELECT count(*) FROM troth.request") == [(0,)], "it needs no Idempotency-Key"


async def test_an_old_or_changed_event_is_refused(http: httpx.AsyncClient, rows: Rows) -> None:
    old = await deliver(http, event(), age_s=301)
    signed = signature(SECRET, event(), int(time.time()))
    changed = event("evt_2")
    forged = await http.post(URL, content=changed, headers={"stripe-signature": signed})

    assert (old.status_code, forged.status_code) == (401, 401)
    assert rows(STORED) == [(0, 0)]
