"""What HTTP client libraries raise when a server misbehaves, and what it means: by real servers and real libraries."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import pytest

from tests.effect.clients.drivers import BRIEF_S, DRIVERS, STRIPE_OVER_HTTPX, TIMEOUT_S
from tests.effect.clients.misbehaving import (
    Behaviour,
    Server,
    answers,
    broken_compression,
    broken_json,
    closes_after,
    garbage,
    half_a_body,
    half_a_chunk,
    hangs_after,
    hangs_before,
    hangs_in_the_body,
    redirects_for_ever,
    refusing,
    resets_after,
    resets_before,
    serving,
    speaks_no_tls,
    unreachable,
)
from tests.harness.postgres import wait_until
from troth.effect.clients import explain
from troth.effect.model import Outcome

pytestmark = STRIPE_OVER_HTTPX

NOT_DONE, UNKNOWN = Outcome.NOT_DONE, Outcome.UNKNOWN


@dataclasses.dataclass(frozen=True)
class World:
    """Where a request goes. *saw*: whole requests that the server has seen in the end."""

    at: Callable[[], contextlib.AbstractContextManager[tuple[str, Server | None]]]
    outcome: Outcome
    saw: int | None = None
    timeout_s: float = TIMEOUT_S


@contextlib.contextmanager
def nobody_listens() -> Iterator[tuple[str, None]]:
    with refusing() as port:
        yield f"http://localhost:{port}/v1", None


@contextlib.contextmanager
def nobody_has_the_name() -> Iterator[tuple[str, None]]:
    yield "http://nowhere.invalid/v1", None


@contextlib.contextmanager
def nobody_accepts() -> Iterator[tuple[str, None]]:
    with unreachable() as port:
        yield f"http://127.0.0.1:{port}/v1", None


def at(
    behave: Behaviour, *, tls: bool = False, scheme: str = "", more: str = ""
) -> Callable[[], contextlib.AbstractContextManager[tuple[str, Server]]]:
    @contextlib.contextmanager
    def world() -> Iterator[tuple[str, Server]]:
        with serving(behave, tls=tls) as server:
            yield (server.url.replace("http:", scheme) if scheme else server.url) + more, server

    return world


WORLDS: dict[str, World] = {
    "refused": World(nobody_listens, NOT_DONE),
    "no such name": World(nobody_has_the_name, NOT_DONE),
    "unreachable": World(nobody_accepts, NOT_DONE, timeout_s=BRIEF_S),
    "untrusted": World(at(answers(200), tls=True), NOT_DONE, 0),
    "no tls": World(at(speaks_no_tls, scheme="https:"), NOT_DONE, 0),
    "hangs before reading": World(at(hangs_before), UNKNOWN, 0, BRIEF_S),
    "hangs after reading": World(at(hangs_after), UNKNOWN, 1, BRIEF_S),
    "resets before reading": World(at(resets_before), UNKNOWN, 0),
    "resets after reading": World(at(resets_after), UNKNOWN, 1),
    "closes after reading": World(at(closes_after), UNKNOWN, 1),
    "half a body": World(at(half_a_body), UNKNOWN, 1),
    "half a chunk": World(at(half_a_chunk), UNKNOWN, 1),
    "hangs in the body": World(at(hangs_in_the_body), UNKNOWN, 1, BRIEF_S),
    "garbage": World(at(garbage), UNKNOWN, 1),
    "broken compression": World(at(broken_compression), UNKNOWN, 1),
    "broken JSON": World(at(broken_json), UNKNOWN, 1),
    "redirects for ever": World(at(redirects_for_ever, more="?follow"), UNKNOWN),
}

# Which row decides: by library, and by what happens. Where there is none, it depends on who is faster, and only the
# outcome is asserted. What is not here does not raise: botocore takes half an answer for an empty one.

_HTTPX = {
    "refused": "ConnectError",
    "no such name": "ConnectError",
    "unreachable": "ConnectTimeout",
    "untrusted": "ConnectError",
    "no tls": "ConnectError",
    "hangs before reading": "ReadTimeout",
    "hangs after reading": "ReadTimeout",
    "resets before reading": None,
    "resets after reading": "NetworkError",
    "closes after reading": "RemoteProtocolError",
    "half a body": "RemoteProtocolError",
    "half a chunk": "RemoteProtocolError",
    "hangs in the body": "ReadTimeout",
    "garbage": "RemoteProtocolError",
    "broken compression": "DecodingError",
    "redirects for ever": "TooManyRedirects",
}

_REQUESTS = {
    "refused": "urllib3.NewConnectionError",
    "no such name": "urllib3.NewConnectionError",
    "unreachable": "urllib3.ConnectTimeoutError",
    "untrusted": "ssl.SSLCertVerificationError",
    "no tls": "ssl.SSLSocket.do_handshake",
    "hangs before reading": "requests.ReadTimeout",
    "hangs after reading": "requests.ReadTimeout",
    "resets before reading": "urllib3.ProtocolError",
    "resets after reading": "urllib3.ProtocolError",
    "closes after reading": "urllib3.ProtocolError",
    "half a body": "requests.ChunkedEncodingError",
    "half a chunk": "requests.ChunkedEncodingError",
    "hangs in the body": "urllib3.ReadTimeoutError",
    "garbage": "urllib3.ProtocolError",
    "broken compression": "requests.ContentDecodingError",
    "broken JSON": "json.JSONDecodeError",
    "redirects for ever": "requests.TooManyRedirects",
}


def _of(package: str) -> dict[str, str | None]:
    rows = {what: row and f"{package}.{row}" for what, row in _HTTPX.items()}
    return {**rows, "broken JSON": "json.JSONDecodeError"}


_STRIPE = {"broken JSON": "stripe.StripeError"}

DECIDED_BY: dict[str, dict[str, str | None]] = {
    "httpx": _of("httpx"),
    "httpx async": _of("httpx"),
    "httpx2": _of("httpx2"),
    "httpx2 async": _of("httpx2"),
    "requests": dict(_REQUESTS),
    "urllib3": {
        **{what: row for what, row in _REQUESTS.items() if "requests" not in row},
        "hangs before reading": "urllib3.ReadTimeoutError",
        "hangs after reading": "urllib3.ReadTimeoutError",
        "half a body": "urllib3.ProtocolError",
        "half a chunk": "urllib3.ProtocolError",
        "broken compression": "urllib3.DecodeError",
        "redirects for ever": "urllib3.ResponseError",
    },
    "aiohttp": {
        "refused": "aiohttp.ClientConnectorError",
        "no such name": "aiohttp.ClientConnectorError",
        "unreachable": "aiohttp.ConnectionTimeoutError",
        "untrusted": "aiohttp.ClientConnectorError",
        "no tls": "aiohttp.ClientConnectorError",
        "hangs before reading": "aiohttp.ServerTimeoutError",
        "hangs after reading": "aiohttp.ServerTimeoutError",
        "resets before reading": None,
        "resets after reading": "aiohttp.ClientOSError",
        "closes after reading": "aiohttp.ServerDisconnectedError",
        "half a body": "aiohttp.ClientPayloadError",
        "half a chunk": "aiohttp.ClientPayloadError",
        "hangs in the body": "aiohttp.ServerTimeoutError",
        "garbage": "aiohttp.HttpProcessingError",
        "broken compression": "aiohttp.ClientPayloadError",
        "broken JSON": "json.JSONDecodeError",
        "redirects for ever": "aiohttp.TooManyRedirects",
    },
    "urllib": {
        "refused": "ConnectionRefusedError",
        "no such name": "socket.gaierror",
        "unreachable": "socket.create_connection",
        "untrusted": "ssl.SSLCertVerificationError",
        "no tls": "ssl.SSLSocket.do_handshake",
        "hangs before reading": "TimeoutError",
        "hangs after reading": "TimeoutError",
        "resets before reading": None,
        "resets after reading": "ConnectionResetError",
        "closes after reading": "ConnectionResetError",
        "half a body": "http.HTTPException",
        "half a chunk": "http.HTTPException",
        "hangs in the body": "TimeoutError",
        "garbage": "http.HTTPException",
        "broken JSON": "json.JSONDecodeError",
        "redirects for ever": "urllib.HTTPError",
    },
    "stripe": _REQUESTS | _STRIPE,
    "stripe async": _of("httpx") | _STRIPE | {"redirects for ever": "stripe.StripeError"},
    "botocore": {
        "refused": "botocore.EndpointConnectionError",
        "no such name": "botocore.EndpointConnectionError",
        "unreachable": "botocore.ConnectTimeoutError",
        "untrusted": "ssl.SSLCertVerificationError",
        "no tls": "ssl.SSLSocket.do_handshake",
        "hangs before reading": "botocore.HTTPClientError",
        "hangs after reading": "botocore.HTTPClientError",
        "resets before reading": "botocore.HTTPClientError",
        "resets after reading": "botocore.HTTPClientError",
        "closes after reading": "botocore.HTTPClientError",
        "half a chunk": "botocore.HTTPClientError",
        "hangs in the body": "botocore.HTTPClientError",
        "garbage": "botocore.HTTPClientError",
        "redirects for ever": "botocore.ClientError",
    },
}

CASES = [(driver, what) for driver, rows in DECIDED_BY.items() for what in rows]
SHOWN = {row for rows in DECIDED_BY.values() for row in rows.values() if row}


@pytest.mark.parametrize(("driver", "what"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_what_a_failed_request_means(driver: str, what: str) -> None:
    world = WORLDS[what]
    with world.at() as (url, server):
        with pytest.raises(Exception) as caught:
            DRIVERS[driver](url, world.timeout_s)
        ruling = explain(caught.value)

        assert ruling.outcome is world.outcome, ruling
        if row := DECIDED_BY[driver][what]:
            assert ruling.row == row
        if server and world.saw is not None:
            wait_until(lambda: len(server.whole) >= world.saw, "the request arrives", timeout=10)
            assert len(server.whole) == world.saw
