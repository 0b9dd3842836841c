"""The rows that need more than a server that misbehaves: pools, proxies, wrong addresses, refused client certificates."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import aiohttp
import botocore.session
import httpx
import httpx2
import pytest
import requests
import urllib3
from botocore.config import Config

from tests.effect.clients.drivers import (
    BRIEF_S,
    DRIVERS,
    STRIPE_OVER_HTTPX,
    TIMEOUT_S,
    TRUST,
    aws,
    by_stripe,
    sqs,
)
from tests.effect.clients.misbehaving import (
    CERTIFICATE,
    LONGEST_WAIT_S,
    Exchange,
    answers,
    hangs_after,
    hangs_before,
    refusing,
    serving,
    speaks_no_tls,
)
from troth.effect.client_evidence import unwrapped
from troth.effect.clients import _row, explain
from troth.effect.model import Outcome

pytestmark = STRIPE_OVER_HTTPX

NOT_DONE, UNKNOWN, REFUSED = Outcome.NOT_DONE, Outcome.UNKNOWN, Outcome.REFUSED


def says_no_to_tunnels(exchange: Exchange) -> None:
    exchange.request()
    exchange.answer(403)


# ── httpx and httpx2 ────────────────────────────────────────────────────────────────────────────


def no_free_connection(library: Any) -> None:
    async def two() -> None:
        limits = library.Limits(max_connections=1)
        timeout = library.Timeout(TIMEOUT_S, pool=BRIEF_S)
        with serving(hangs_after) as server:
            async with library.AsyncClient(
                limits=limits, timeout=timeout, trust_env=False, verify=TRUST
            ) as client:
                first = asyncio.create_task(client.post(server.url))
                try:
                    await asyncio.to_thread(server.arrived.wait, LONGEST_WAIT_S)
                    await client.post(server.url)
                finally:
                    first.cancel()
                    await asyncio.wait([first])

    asyncio.run(two())


def tunnel(library: Any) -> None:
    with serving(says_no_to_tunnels) as server:
        proxy = server.url.removesuffix("/v1/charges")
        with library.Client(proxy=proxy, trust_env=False, verify=TRUST) as client:
            client.post("https://nowhere.invalid/")


def send_a_lot(library: Any) -> None:
    with serving(hangs_before) as server:
        library.post(server.url, content=b"x" * 20_000_000, timeout=BRIEF_S, trust_env=False)


# ── requests and urllib3 ────────────────────────────────────────────────────────────────────────


def no_free_connection_of_urllib3() -> None:
    with (
        serving(hangs_after) as server,
        urllib3.HTTPConnectionPool("localhost", server.port, maxsize=1, block=True) as pool,
    ):
        taken = pool._get_conn()
        try:
            pool.request("POST", "/", pool_timeout=BRIEF_S)
        finally:
            taken.close()


def tunnel_of_requests() -> None:
    with serving(says_no_to_tunnels) as server, requests.Session() as session:
        session.trust_env = False
        proxies = {"https": server.url}
        session.post("https://nowhere.invalid/", proxies=proxies, timeout=TIMEOUT_S)


def wrong_address_of_urllib3() -> None:
    with urllib3.PoolManager() as pool:
        pool.request("POST", "http://")


# ── aiohttp ─────────────────────────────────────────────────────────────────────────────────────


def by_aiohttp(url: str, **how: Any) -> None:
    async def post() -> None:
        async with aiohttp.ClientSession() as session, session.post(url, **how):
            pass

    asyncio.run(post())


def tunnel_of_aiohttp() -> None:
    with serving(says_no_to_tunnels) as server:
        by_aiohttp("https://nowhere.invalid/", proxy=server.url)


# ── stripe and botocore ─────────────────────────────────────────────────────────────────────────


def the_key_with_other_parameters() -> None:
    error = {"type": "idempotency_error", "message": "Keys can only be used with the same ..."}
    with serving(answers(400, {"error": error})) as server:
        by_stripe(server.url)


def too_many_for_stripe() -> None:
    with serving(answers(429, {"error": {"message": "Too many requests"}})) as server:
        by_stripe(server.url)


def proxy_of_botocore() -> None:
    with refusing() as port:
        proxies = {"https": f"http://localhost:{port}"}
        config = Config(proxies=proxies, retries={"max_attempts": 0}, connect_timeout=TIMEOUT_S)
        with contextlib.closing(
            aws().create_client("sqs", region_name="eu-central-1", config=config)
        ) as client:
            client.send_message(QueueUrl="https://nowhere.invalid/", MessageBody="charge")


def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    client = botocore.session.get_session().create_client("sqs", region_name="eu-central-1")
    with contextlib.closing(client):
        client.send_message(QueueUrl="http://nowhere.invalid", MessageBody="charge")


def wrong_parameters() -> None:
    with contextlib.closing(sqs("http://nowhere.invalid", TIMEOUT_S)) as client:
        client.send_message(QueueUrl="http://nowhere.invalid")


def unreadable_xml() -> None:
    with serving(answers(200, "<SendMessage")) as server:
        where = server.url.removesuffix("/v1/charges")
        with contextlib.closing(
            aws().create_client("sns", region_name="eu-central-1", endpoint_url=where)
        ) as client:
            client.publish(TopicArn="arn:aws:sns:eu-central-1:1:t", Message="charge")


# ── Python itself ───────────────────────────────────────────────────────────────────────────────


def refused_client_certificate() -> None:
    """In TLS 1.3 the client has sent its request when the server says that it wanted a certificate."""
    demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    demanding.load_cert_chain(CERTIFICATE)
    demanding.verify_mode = ssl.CERT_REQUIRED
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))

    def demand(exchange: Exchange) -> None:
        # The handshake apart, so that its failure does not close the socket: a reset would overtake the alert.
        with demanding.wrap_socket(
            exchange.connection, server_side=True, do_handshake_on_connect=False
        ) as connection:
            with contextlib.suppress(ssl.SSLError):
                connection.do_handshake()
            exchange.hang()

    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
    )
    with serving(demand) as server:
        opener.open(server.url.replace("http:", "https:"), b"charge", timeout=TIMEOUT_S)


def a_pipe_that_is_broken() -> None:
    gone = threading.Event()

    def leave(exchange: Exchange) -> None:
        exchange.reset()
        gone.set()

    with serving(leave) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        gone.wait(TIMEOUT_S)
        with contextlib.suppress(ConnectionResetError):
            client.recv(1)  # takes the error of the reset; what is sent now has nowhere to go
        client.sendall(b"charge")


def cancelled() -> None:
    async def waits() -> None:
        with serving(hangs_after) as server:
            async with httpx.AsyncClient(trust_env=False) as client:
                post = asyncio.create_task(client.post(server.url, timeout=TIMEOUT_S))
                await asyncio.to_thread(server.arrived.wait, LONGEST_WAIT_S)
                post.cancel()
                await post

    asyncio.run(waits())


def no_tls_by_asyncio() -> None:
    async def opens() -> None:
        with serving(speaks_no_tls) as server:
            context = ssl.create_default_context()
            await asyncio.open_connection("localhost", server.port, ssl=context)

    asyncio.run(opens())


CASES: list[tuple[str, Outcome, Callable[..., Any]]] = [
    *(
        (f"{library.__name__}.{name}", outcome, lambda act=act, library=library: act(library))
        for library in (httpx, httpx2)
        for name, outcome, act in (
            ("PoolTimeout", NOT_DONE, no_free_connection),
            ("ProxyError", NOT_DONE, tunnel),
            ("UnsupportedProtocol", NOT_DONE, lambda library: library.post("ftp://nowhere")),
            ("InvalidURL", NOT_DONE, lambda library: library.post("http://[::1")),
            ("WriteTimeout", UNKNOWN, send_a_lot),
        )
    ),
    ("urllib3.EmptyPoolError", NOT_DONE, no_free_connection_of_urllib3),
    ("urllib3.ProxyError", NOT_DONE, tunnel_of_requests),
    ("urllib3.LocationValueError", NOT_DONE, wrong_address_of_urllib3),
    ("requests.InvalidURL", NOT_DONE, lambda: requests.post("http://", timeout=1)),
    ("requests.MissingSchema", NOT_DONE, lambda: requests.post("nowhere", timeout=1)),
    ("requests.InvalidSchema", NOT_DONE, lambda: requests.post("ftp://nowhere", timeout=1)),
    ("aiohttp.ClientHttpProxyError", NOT_DONE, tunnel_of_aiohttp),
    ("aiohttp.InvalidURL", NOT_DONE, lambda: by_aiohttp("http://[::1")),
    ("aiohttp.NonHttpUrlClientError", NOT_DONE, lambda: by_aiohttp("ftp://nowhere")),
    ("stripe.IdempotencyError", UNKNOWN, the_key_with_other_parameters),
    ("stripe.RateLimitError", NOT_DONE, too_many_for_stripe),
    ("botocore.ProxyConnectionError", NOT_DONE, proxy_of_botocore),
    ("botocore.NoCredentialsError", NOT_DONE, no_credentials),
    ("botocore.ParamValidationError", NOT_DONE, wrong_parameters),
    ("botocore.ResponseParserError", UNKNOWN, unreadable_xml),
    ("ssl.SSLError", UNKNOWN, refused_client_certificate),
    ("BrokenPipeError", UNKNOWN, a_pipe_that_is_broken),
    ("asyncio.CancelledError", UNKNOWN, cancelled),
    ("asyncio.BaseEventLoop.create_connection", NOT_DONE, no_tls_by_asyncio),
]
SHOWN = {row for row, _, _ in CASES}


@pytest.mark.parametrize(("row", "outcome", "act"), CASES, ids=[row for row, _, _ in CASES])
def test_what_it_means(
    row: str, outcome: Outcome, act: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BaseException) as caught:
        act(monkeypatch) if act is no_credentials else act()
    ruling = explain(caught.value)

    assert (ruling.row, ruling.outcome) == (row, outcome)


# ── exceptions that say nothing but what they wrap ──────────────────────────────────────────────

WRAPPED = [
    ("urllib.URLError", "urllib"),
    ("urllib3.MaxRetryError", "requests"),
    ("urllib3.SSLError", "requests"),
    ("requests.ConnectionError", "requests"),
    ("stripe.APIConnectionError", "stripe"),
    ("botocore.SSLError", "botocore"),
]
SHOWN |= {row for row, _ in WRAPPED}


@pytest.mark.parametrize(("row", "driver"), WRAPPED)
def test_the_wrapper_is_opened(row: str, driver: str) -> None:
    with serving(answers(200), tls=True) as server:
        with pytest.raises(Exception) as caught:
            DRIVERS[driver](server.url, TIMEOUT_S)
        rows = [found.name for one in unwrapped(caught.value) if (found := _row(one))]

        assert row in rows
        assert rows[-1] == "ssl.SSLCertVerificationError"
        assert explain(caught.value).outcome is NOT_DONE


def test_answers_with_a_status() -> None:
    """The rows that leave it to the status, by each library."""
    body = {"error": {"message": "Your card was declined."}}
    rows = set()
    for driver in DRIVERS.keys() - {"urllib3"}:  # it does not raise for a status
        with serving(answers(402, body)) as server:
            with pytest.raises(Exception) as caught:
                DRIVERS[driver](server.url, TIMEOUT_S)
            ruling = explain(caught.value)
        assert ruling.outcome is REFUSED, driver
        assert len(server.whole) == 1
        rows.add(ruling.row)

    assert rows == WITH_STATUS


WITH_STATUS = {
    "httpx.HTTPStatusError",
    "httpx2.HTTPStatusError",
    "requests.HTTPError",
    "aiohttp.ClientResponseError",
    "urllib.HTTPError",
    "stripe.StripeError",
    "botocore.ClientError",
}
SHOWN |= WITH_STATUS
