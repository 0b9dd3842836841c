"""One POST by each client library, as a user would write it, without any retries of the library's own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import aiohttp
import botocore.session
import httpx
import httpx2
import pytest
import requests
import stripe
import urllib3
from botocore.config import Config

TIMEOUT_S = 10.0  # for answers that come
BRIEF_S = 0.15  # for those that do not
TRUST = ssl.create_default_context()  # made once: it takes longer than a request
BODY = {"amount": "1200"}

# stripe gives httpx a form as text, of which httpx warns.
STRIPE_OVER_HTTPX = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

Driver = Callable[[str, float], Any]


def _httpx(library: Any) -> Driver:
    def post(url: str, timeout_s: float) -> Any:
        with library.Client(timeout=timeout_s, trust_env=False, verify=TRUST) as client:
            response = client.post(url, json=BODY, follow_redirects="follow" in url)
            return response.raise_for_status().json()

    return post


def _httpx_async(library: Any) -> Driver:
    async def post(url: str, timeout_s: float) -> Any:
        async with library.AsyncClient(timeout=timeout_s, trust_env=False, verify=TRUST) as client:
            response = await client.post(url, json=BODY, follow_redirects="follow" in url)
            return response.raise_for_status().json()

    return running(post)


def running(post: Callable[[str, float], Coroutine[Any, Any, Any]]) -> Driver:
    return lambda url, timeout_s: asyncio.run(post(url, timeout_s))


def by_requests(url: str, timeout_s: float = TIMEOUT_S) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        response = session.post(url, json=BODY, timeout=timeout_s)
        response.raise_for_status()
        return response.json()


def by_urllib3(url: str, timeout_s: float = TIMEOUT_S) -> Any:
    with urllib3.PoolManager(timeout=timeout_s, retries=urllib3.Retry(0)) as pool:
        response = pool.request("POST", url, json=BODY)
        return json.loads(response.data)


async def by_aiohttp(url: str, timeout_s: float = TIMEOUT_S) -> Any:
    timeout = aiohttp.ClientTimeout(sock_connect=timeout_s, sock_read=timeout_s)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, json=BODY, raise_for_status=True) as response,
    ):
        return await response.json(content_type=None)


def by_urllib(url: str, timeout_s: float = TIMEOUT_S) -> Any:
    request = urllib.request.Request(url, json.dumps(BODY).encode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        error.close()  # it is the response, too
        raise


def stripe_client(url: str, transport: stripe.HTTPClient, retries: int) -> stripe.StripeClient:
    return stripe.StripeClient(
        "sk_test_x",
        base_addresses={"api": base_of(url)},
        http_client=transport,
        max_network_retries=retries,
    )


def base_of(url: str) -> Any:
    scheme, address = urlsplit(url)[:2]
    return f"{scheme}://{address}"


def by_stripe(url: str, timeout_s: float = TIMEOUT_S, *, retries: int = 0) -> Any:
    """By requests."""
    with requests.Session() as session, contextlib.ExitStack() as stack:
        session.trust_env = False
        transport = stripe.RequestsClient(timeout=timeout_s, session=session)
        stack.callback(transport.close)
        client = stripe_client(url, transport, retries)
        return client.v1.customers.create({"email": "ada@example.com"})


async def by_stripe_async(url: str, timeout_s: float = TIMEOUT_S, *, retries: int = 0) -> Any:
    """By httpx."""
    transport = stripe.HTTPXClient(timeout=timeout_s)
    try:
        client = stripe_client(url, transport, retries)
        return await client.v1.customers.create_async({"email": "ada@example.com"})
    finally:
        await transport.close_async()


def by_stripe_module(url: str, timeout_s: float = TIMEOUT_S) -> Any:
    """By the SDK's global client, as it is: with two retries."""
    with requests.Session() as session:
        session.trust_env = False
        transport = stripe.RequestsClient(timeout=timeout_s, session=session)
        with mock.patch.multiple(stripe, api_base=base_of(url), default_http_client=transport):
            return stripe.Customer.create(email="ada@example.com", api_key="sk_test_x")


@functools.cache
def aws() -> botocore.session.Session:
    """Shared, because it reads the descriptions of services once."""
    session = botocore.session.get_session()
    session.set_credentials("key", "secret")
    return session


def sqs(url: str, timeout_s: float, *, retries: int = 0) -> Any:
    return aws().create_client(
        "sqs",
        region_name="eu-central-1",
        endpoint_url=base_of(url),
        config=Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            retries={"max_attempts": retries, "mode": "legacy"},
            proxies={},
        ),
    )


def by_botocore(url: str, timeout_s: float = TIMEOUT_S, *, retries: int = 0) -> Any:
    with contextlib.closing(sqs(url, timeout_s, retries=retries)) as client:
        return client.send_message(QueueUrl=url, MessageBody="charge")


DRIVERS: dict[str, Driver] = {
    "httpx": _httpx(httpx),
    "httpx async": _httpx_async(httpx),
    "httpx2": _httpx(httpx2),
    "httpx2 async": _httpx_async(httpx2),
    "requests": by_requests,
    "urllib3": by_urllib3,
    "aiohttp": running(by_aiohttp),
    "urllib": by_urllib,
    "stripe": by_stripe,
    "stripe async": running(by_stripe_async),
    "botocore": by_botocore,
}
