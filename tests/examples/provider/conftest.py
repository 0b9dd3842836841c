from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import stripe

from tests.examples.provider.process import Process

MODULE = "examples.signup.provider"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(MODULE, tmp_path_factory.mktemp("provider") / "data.sqlite")
    yield process
    assert process.stop() == 0
    process.close()


@pytest.fixture
def provider(running: Process) -> Iterator[Process]:
    """A provider shared by the tests of a module; it behaves again afterwards."""
    yield running
    running.behave()


@pytest.fixture
def own(tmp_path) -> Iterator[Process]:
    """A provider of the test's own, which may be killed."""
    process = Process(MODULE, tmp_path / "data.sqlite")
    yield process
    process.close()


class Connect:
    """Makes clients of the official SDK, synchronous by requests and asynchronous by httpx."""

    def __init__(self) -> None:
        self.transports: list[stripe.HTTPClient] = []

    def __call__(
        self, process: Process, *, retries: int = 0, timeout: float = 10, api_key: str = "sk_test_x"
    ) -> stripe.StripeClient:
        behind = stripe.HTTPXClient(timeout=timeout)
        transport = stripe.RequestsClient(timeout=timeout, async_fallback_client=behind)
        self.transports += [transport, behind]
        return stripe.StripeClient(
            api_key,
            base_addresses={"api": process.url},
            max_network_retries=retries,
            http_client=transport,
        )


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    make = Connect()
    yield make
    for transport in make.transports:
        transport.close()
        if isinstance(transport, stripe.HTTPXClient):
            await transport.close_async()


@pytest.fixture
def client(provider: Process, connect: Connect) -> stripe.StripeClient:
    return connect(provider)


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex
