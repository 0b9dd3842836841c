"""The ready-made probes, against a real provider that loses answers, through the official SDK."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import stripe

from tests.examples.provider.process import Process
from troth.effect.model import Call, Found, Missing
from troth.integrations.stripe import (
    ProbeError,
    find_by_event,
    find_by_event_async,
    find_by_metadata,
    find_by_metadata_async,
)

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)

ENTRY = "troth_key"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(
        "examples.signup.provider", tmp_path_factory.mktemp("provider") / "data.sqlite"
    )
    yield process
    assert process.stop() == 0
    process.close()


@pytest.fixture
def provider(running: Process) -> Iterator[Process]:
    yield running
    running.behave()


@pytest.fixture
async def client(provider: Process) -> AsyncIterator[stripe.StripeClient]:
    behind = stripe.HTTPXClient(timeout=10)
    transport = stripe.RequestsClient(timeout=10, async_fallback_client=behind)
    yield stripe.StripeClient(
        "sk_test_x",
        base_addresses={"api": provider.url},
        max_network_retries=0,
        http_client=transport,
    )
    transport.close()
    await behind.close_async()


@pytest.fixture
def call() -> Call:
    now = time.time()
    return Call(f"run/{uuid.uuid4()}", attempt=1, fence=1, deadline=now + 10, first_sent=now)


@dataclasses.dataclass(frozen=True)
class Probes:
    """The probes of one colour, called alike."""

    asynchronous: bool
    client: stripe.StripeClient

    async def by_metadata(self, call: Call, kind: str = "customers", **how: Any) -> Any:
        service = getattr(self.client.v1, kind)
        probe, listing = self._of(find_by_metadata, find_by_metadata_async, service)
        return await self._ask(functools.partial(probe, call, listing, ENTRY, value=_id, **how))

    async def by_event(self, call: Call, *types: str, **how: Any) -> Any:
        service = self.client.v1.events
        probe, listing = self._of(find_by_event, find_by_event_async, service)
        ask = functools.partial(probe, call, listing, *types, value=_id, **how)
        return await self._ask(ask)

    def _of(self, probe: Any, probe_async: Any, service: Any) -> tuple[Any, Any]:
        if self.asynchronous:
            return probe_async, service.list_async
        return probe, service.list

    async def _ask(self, ask: Callable[[], Any]) -> Any:
        answer = ask()
        return await answer if inspect.isawaitable(answer) else answer


def _id(one: Any) -> str:
    return str(one.id)


@pytest.fixture(params=["sync", "async"])
def probes(request: pytest.FixtureRequest, client: stripe.StripeClient) -> Probes:
    return Probes(request.param == "async", client)


def create(client: stripe.StripeClient, call: Call, **metadata: str) -> stripe.Customer:
    given: Any = {"email": "ada@example.com", "metadata": metadata or {ENTRY: call.key}}
    return client.v1.customers.create(given, {"idempotency_key": call.key})


def other(call: Call) -> Call:
    return dataclasses.replace(call, key=f"run/{uuid.uuid4()}")


# ── what they find ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["reset_after", "truncate_after", "http500_after"])
async def test_what_was_done_is_found(
    provider: Process, client: stripe.StripeClient, probes: Probes, call: Call, fault: str
) -> None:
    create(client, other(call))
    provider.fault(fault, match={"method": "POST"}, count=1)
    with pytest.raises(stripe.StripeError):
        create(client, call)
    (row,) = provider.truth("customer", **{ENTRY: call.key})

    assert await probes.by_metadata(call) == Found(row["id"])
    assert await probes.by_event(call, "customer.created") == Found(row["id"])


async def test_what_was_not_done_is_missing(
    provider: Process, client: stripe.StripeClient, probes: Probes, call: Call
) -> None:
    create(client, other(call))
    provider.fault("http500_before", match={"method": "POST"}, count=1)
    with pytest.raises(stripe.APIError):
        create(client, call)

    assert await probes.by_metadata(call) == Missing()
    assert await probes.by_event(call, "customer.created") == Missing()


async def test_a_probe_that_cannot_ask_raises(
    provider: Process, probes: Probes, call: Call
) -> None:
    provider.fault("http500_before", match={"method": "GET"}, count=2)
    for ask in (probes.by_metadata(call), probes.by_event(call, "customer.created")):
        with pytest.raises(stripe.APIError):
            await ask


async def test_all_pages_are_read(client: stripe.StripeClient, probes: Probes, call: Call) -> None:
    first = create(client, call)
    more: Any = {"metadata": {ENTRY: "of somebody else"}}
    await asyncio.gather(*(client.v1.customers.create_async(more) for _ in range(101)))

    assert await probes.by_metadata(call) == Found(first.id)
    assert await probes.by_event(call, "customer.created") == Found(first.id)


async def test_a_list_may_be_narrowed(
    client: stripe.StripeClient, probes: Probes, call: Call
) -> None:
    ours, theirs = create(client, call), create(client, other(call))
    intent: Any = {
        "amount": 1200,
        "currency": "eur",
        "customer": ours.id,
        "metadata": {ENTRY: call.key},
    }
    made = client.v1.payment_intents.create(intent)

    found = await probes.by_metadata(call, "payment_intents", where={"customer": ours.id})
    assert found == Found(made.id)
    found = await probes.by_metadata(call, "payment_intents", where={"customer": theirs.id})
    assert found == Missing()


async def test_another_value_may_be_looked_for(
    client: stripe.StripeClient, probes: Probes, call: Call
) -> None:
    account = str(uuid.uuid4())
    made = create(client, call, **{ENTRY: account})
    unmarked = client.v1.customers.create({"email": "bob@example.com"})

    assert await probes.by_metadata(call) == Missing()
    assert await probes.by_metadata(call, equals=account) == Found(made.id)
    by_entry = {"entry": ENTRY, "equals": account}
    assert await probes.by_event(other(call), "customer.created", **by_entry) == Found(made.id)
    assert await probes.by_event(other(call), "customer.created", entry=ENTRY) == Missing()
    assert unmarked.id != made.id


async def test_only_events_of_the_types_count(
    client: stripe.StripeClient, probes: Probes, call: Call
) -> None:
    made = create(client, call)
    assert await probes.by_event(call, "payment_intent.created") == Missing()
    assert await probes.by_event(call) == Found(made.id)


async def test_what_was_deleted_is_only_in_the_events(
    client: stripe.StripeClient, probes: Probes, call: Call
) -> None:
    made = create(client, call)
    client.v1.customers.delete(made.id)

    assert await probes.by_metadata(call) == Missing()
    assert await probes.by_event(call, "customer.created") == Found(made.id)


# ── when they look ──────────────────────────────────────────────────────────────────────────────


async def test_the_provider_s_clock_may_be_behind(
    client: stripe.StripeClient, probes: Probes, call: Call
) -> None:
    made = create(client, call)
    ahead = dataclasses.replace(call, first_sent=call.first_sent + 120)

    assert await probes.by_metadata(ahead) == Found(made.id)
    assert await probes.by_metadata(ahead, skew=timedelta(seconds=10)) == Missing()
    assert await probes.by_event(ahead, "customer.created") == Found(made.id)
    narrow = {"skew": timedelta(seconds=10)}
    assert await probes.by_event(ahead, "customer.created", **narrow) == Missing()


async def test_events_that_may_be_deleted_are_no_evidence(probes: Probes, call: Call) -> None:
    old = dataclasses.replace(call, first_sent=call.first_sent - 30 * 86_400)
    with pytest.raises(ProbeError, match="kept for 30 days"):
        await probes.by_event(old, "customer.created")


async def test_two_objects_are_no_answer(
    client: stripe.StripeClient, probes: Probes, call: Call
) -> None:
    first = create(client, call)
    second = create(client, other(call), **{ENTRY: call.key})

    with pytest.raises(ProbeError) as caught:
        await probes.by_metadata(call)
    assert first.id in str(caught.value)
    assert second.id in str(caught.value)


# ── what it costs ───────────────────────────────────────────────────────────────────────────────


def test_the_sdk_is_not_imported() -> None:
    program = "import sys, troth.integrations.stripe; print('stripe' in sys.modules)"
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
