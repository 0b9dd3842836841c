"""Every HTTP client sees under the lab what it sees at a real server: for each operation, with each fault."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import httpx
import pytest
import requests
import stripe
import urllib3

from tests.lab.seen import Seen
from troth.lab import Keys, Lab, Provider, effect, read
from troth.lab.provider import Call, Shelf

TIMEOUT = 0.3  # seconds; the real server is silent, so this is how long each client waits
ERROR = {"error": "internal server error"}
Client = Callable[[str, str], Any]
"""Asks for (method, url), and says what it got: "200 {…}", or the name of what was raised."""


def echo(method: str, path: str, query: dict[str, str], body: bytes, header: str) -> object:
    return {
        "method": method,
        "path": path,
        "query": query,
        "body": body.decode(),
        "header": header,
    }


# ── the clients ──────────────────────────────────────────────────────────────────────────────────


def with_httpx(method: str, url: str) -> str:
    answer = httpx.request(method, url, headers={"x-mine": "1"}, json=BODY[method], timeout=TIMEOUT)
    return f"{answer.status_code} {answer.json()}"


async def with_httpx_async(method: str, url: str) -> str:
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        answer = await client.request(method, url, headers={"x-mine": "1"}, json=BODY[method])
        return f"{answer.status_code} {answer.json()}"


def with_requests(method: str, url: str) -> str:
    answer = requests.request(
        method, url, headers={"x-mine": "1"}, json=BODY[method], timeout=TIMEOUT
    )
    return f"{answer.status_code} {answer.json()}"


def with_urllib3(method: str, url: str) -> str:
    answer = urllib3.PoolManager().request(
        method, url, headers={"x-mine": "1"}, json=BODY[method], timeout=TIMEOUT, retries=False
    )
    return f"{answer.status} {answer.json()}"


async def with_aiohttp(method: str, url: str) -> str:
    quick = aiohttp.ClientTimeout(total=None, sock_read=TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=quick) as session,
        session.request(method, url, headers={"x-mine": "1"}, json=BODY[method]) as answer,
    ):
        return f"{answer.status} {await answer.json()}"


CLIENTS = [with_httpx, with_httpx_async, with_requests, with_urllib3, with_aiohttp]
BODY = {"POST": {"amount": 4900}, "GET": None}


def told(client: Client, method: str, url: str) -> str:
    """What it says, without the compact or spaced way in which a library writes JSON."""
    try:
        found = client(method, url)
        if inspect.isawaitable(found):
            found = asyncio.run(found)
    except Exception as error:  # noqa: BLE001  (what is raised is what is compared)
        return type(error).__name__
    return str(found).replace('": ', '":')


# ── the real server ──────────────────────────────────────────────────────────────────────────────


class Echoing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    silence = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, _, path = self.path[1:].partition("/")
        if kind == "silent":
            self.silence.wait()
            self.close_connection = True
            return
        parts = urlsplit(f"/{path}")
        answer = echo(
            self.command, parts.path, dict(parse_qsl(parts.query)), body, self.headers["x-mine"]
        )
        data = json.dumps(answer if kind == "fine" else ERROR).encode()
        self.send_response(200 if kind == "fine" else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST  # noqa: N815  (its name in the library)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Echoing.silence.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echoing) as made:
        made.daemon_threads = True
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        Echoing.silence.set()
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    """A port at which nobody listens, and nobody else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


class Mirror(Provider):
    host = "127.0.0.1"

    @effect("POST /a/thing")
    def change(self, s: Shelf, req: Call) -> tuple[int, object]:
        return 200, echo("POST", req.path, req.query, req.body, req.headers["x-mine"])

    @read("GET /a/thing")
    def look(self, s: Shelf, req: Call) -> tuple[int, object]:
        return 200, echo("GET", req.path, req.query, req.body, req.headers["x-mine"])


@pytest.mark.parametrize("client", CLIENTS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_client_sees_the_same(lab: Lab, server: str, nobody: str, client: Client, method: str):
    target = "a/thing?of=mine&n=1"
    real = {
        "answer": told(client, method, f"{server}/fine/{target}"),
        "error": told(client, method, f"{server}/broken/{target}"),
        "silence": told(client, method, f"{server}/silent/{target}"),
    }
    if method == "POST":  # a read that finds nobody ends as one that is too slow
        real["nobody"] = told(client, method, f"{nobody}/fine/{target}")
    with Seen() as seen:
        is_async = inspect.iscoroutinefunction(client)

        def handler() -> int:
            seen.note(told(client, method, f"http://127.0.0.1/{target}"))
            return 200

        async def handler_async() -> int:
            try:
                found = (await client(method, f"http://127.0.0.1/{target}")).replace('": ', '":')
            except Exception as error:  # noqa: BLE001
                found = type(error).__name__
            seen.note(found)
            return 200

        lab.provider(Mirror)
        lab.user(handler_async if is_async else handler, again=lambda answer: False)
        lab.always("nothing", lambda w: True)
        verdict = lab.explore(overlap=1)
        assert verdict.closed, str(verdict)
        assert set(seen.lines()) == set(real.values()), real


# ── what is above the edge stays real ────────────────────────────────────────────────────────────


class Till(Provider):
    host = "api.stripe.com"
    keys = Keys(mismatch=400)

    @effect("POST /v1/charges")
    def charge(self, s: Shelf, req: Call) -> tuple[int, object]:
        return 200, s.add("charges", object="charge", **req.form)


def pay(**options: Any) -> int:
    stripe.api_key = "sk_test_1"
    made = stripe.Charge.create(amount=4900, currency="eur", source="tok", **options)
    return 200 if made.amount else 500


def pays_once(lab: Lab, **options: Any) -> None:
    lab.provider(Till)
    lab.user(lambda: pay(**options), again=lambda answer: False)
    lab.always("charged once", lambda w: len(w.till.charges) <= 1, costs="49")


def test_stripes_own_retries_have_a_key_of_their_own(lab: Lab):
    """The library tries again by itself, twice, with a key that it has made up for this call."""
    pays_once(lab)
    verdict = lab.explore(overlap=1)
    assert not verdict.counterexamples, str(verdict)
    assert verdict.closed, str(verdict)


def test_who_pays_again_needs_a_key_of_his_own(lab: Lab):
    lab.provider(Till)
    lab.user(pay)
    lab.always("charged once", lambda w: len(w.till.charges) <= 1, costs="49")
    (example,) = lab.explore().counterexamples
    assert example.faults in {("impatient caller",), ("lost response",), ("crash",)}


def test_retries_of_requests_are_made(lab: Lab):
    """A session that tries a POST again on 5xx charges twice, and nobody sees it in the handler's code."""
    session = requests.Session()
    retrying = urllib3.Retry(3, status_forcelist=[500], allowed_methods=None)
    session.mount("https://", requests.adapters.HTTPAdapter(max_retries=retrying))

    def handler() -> int:
        session.post("https://api.stripe.com/v1/charges", data={"amount": "1"}).raise_for_status()
        return 200

    lab.provider(Till)
    lab.user(handler, again=lambda answer: False)
    lab.always("charged once", lambda w: len(w.till.charges) <= 1, costs="49")
    (example,) = lab.explore(overlap=1).counterexamples
    assert example.faults == ("lost answer",)
