"""Client libraries repeat requests by themselves: then the last "no" says nothing of the requests before it."""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import stripe
import urllib3

from tests.effect.clients.drivers import (
    DRIVERS,
    STRIPE_OVER_HTTPX,
    TIMEOUT_S,
    by_botocore,
    by_stripe,
    by_stripe_async,
    by_stripe_module,
    running,
    stripe_client,
)
from tests.effect.clients.misbehaving import (
    Exchange,
    Server,
    answers,
    goes_away,
    in_turn,
    refusing,
    resets_after,
    serving,
)
from troth.effect.client_evidence import REPEATERS
from troth.effect.clients import explain, judge
from troth.effect.model import Outcome

pytestmark = STRIPE_OVER_HTTPX

NOT_DONE, UNKNOWN, REFUSED = Outcome.NOT_DONE, Outcome.UNKNOWN, Outcome.REFUSED
DECLINED = answers(402, {"error": {"message": "Your card was declined."}})
TOO_MANY = answers(429, {"error": {"message": "Too many requests"}}, retry_after="3")
MISSING = answers(404, {"error": {"message": "No such customer"}})
BROKEN = answers(500, {"error": {"message": "Sorry"}})


def raised(act: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:
        act()
    return caught.value


def outcome(act: Callable[[], Any]) -> Outcome:
    return explain(raised(act)).outcome


# ── stripe: twice, by its global client or if a client is told to ───────────────────────────────

REPEATING: dict[str, Callable[..., Any]] = {
    "global": by_stripe_module,
    "requests": functools.partial(by_stripe, retries=2),
    "httpx": lambda *where: asyncio.run(by_stripe_async(*where, retries=2)),
}
AT_ONCE: dict[str, Callable[..., Any]] = {
    "requests": by_stripe,
    "httpx": lambda *where: asyncio.run(by_stripe_async(*where)),
}
repeating = pytest.mark.parametrize("by", REPEATING)
at_once = pytest.mark.parametrize("by", AT_ONCE)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's and botocore's pauses between retries are short."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.001)
    monkeypatch.setattr("botocore.retryhandler.random.random", lambda: 0.001)


@repeating
def test_stripe_repeats_twice(by: str, hurried: None) -> None:
    with serving(BROKEN) as server:
        assert outcome(lambda: REPEATING[by](server.url)) is UNKNOWN
    assert len(server.whole) == 3


@repeating
def test_stripe_was_refused_after_a_lost_answer(by: str, hurried: None) -> None:
    """The request may have been done, although the exception says that nobody listened."""
    with serving(goes_away) as server:
        error = raised(lambda: REPEATING[by](server.url))
    assert isinstance(error, stripe.APIConnectionError)
    assert explain(error).outcome is UNKNOWN
    assert len(server.whole) == 1


@repeating
def test_stripe_was_refused_three_times(by: str, hurried: None) -> None:
    """The SDK shows the last attempt only."""
    with refusing() as port:
        assert outcome(lambda: REPEATING[by](f"http://localhost:{port}")) is UNKNOWN


@at_once
def test_stripe_was_refused_once(by: str) -> None:
    with refusing() as port:
        assert outcome(lambda: AT_ONCE[by](f"http://localhost:{port}")) is NOT_DONE


@repeating
def test_stripe_was_told_to_wait_after_a_lost_answer(by: str, hurried: None) -> None:
    with serving(in_turn(resets_after, TOO_MANY)) as server:
        error = raised(lambda: REPEATING[by](server.url))
    assert isinstance(error, stripe.RateLimitError)
    judgement = judge(error)
    assert (judgement.outcome, judgement.retry_after_s) == (UNKNOWN, 3.0)
    assert len(server.whole) == 2


@at_once
def test_stripe_was_told_to_wait(by: str) -> None:
    with serving(TOO_MANY) as server:
        assert outcome(lambda: AT_ONCE[by](server.url)) is NOT_DONE
    assert len(server.whole) == 1


@repeating
def test_stripe_declined_after_a_lost_answer(by: str, hurried: None) -> None:
    """The SDK repeats a POST with the same key: the answer is that of the first request."""
    with serving(in_turn(resets_after, DECLINED)) as server:
        judgement = judge(raised(lambda: REPEATING[by](server.url)))
    assert (judgement.outcome, judgement.message) == (REFUSED, "Your card was declined.")
    assert len(server.whole) == 2


@pytest.mark.parametrize(("retries", "expected"), [(0, REFUSED), (2, UNKNOWN)])
def test_stripe_deleted_after_a_lost_answer(retries: int, expected: Outcome, hurried: None) -> None:
    """A DELETE has no key: "no such customer" may be the work of the request before."""
    behave = in_turn(resets_after, MISSING) if retries else MISSING
    with serving(behave) as server, requests.Session() as session:
        transport = stripe.RequestsClient(timeout=TIMEOUT_S, session=session)
        client = stripe_client(server.url, transport, retries)
        assert outcome(lambda: client.v1.customers.delete("cus_1")) is expected
    assert len(server.whole) == (2 if retries else 1)


def test_an_error_that_was_not_raised_by_the_sdk_proves_nothing() -> None:
    refusal = stripe.APIConnectionError("no")
    refusal.__cause__ = ConnectionRefusedError()
    assert explain(refusal).outcome is UNKNOWN
    assert explain(stripe.RateLimitError("slow down", http_status=429)).outcome is UNKNOWN
    assert explain(stripe.CardError("no", None, None, http_status=402)).outcome is REFUSED


# ── urllib3 and requests: a history of retries ──────────────────────────────────────────────────


def put_by_requests(url: str, retries: urllib3.Retry) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        session.put(url, data=b"charge", timeout=TIMEOUT_S).raise_for_status()


def put_by_urllib3(url: str, retries: urllib3.Retry) -> None:
    with urllib3.PoolManager(timeout=TIMEOUT_S) as pool:
        pool.request("PUT", url, body=b"charge", retries=retries)


BY_URLLIB3 = [put_by_requests, put_by_urllib3]


@pytest.mark.parametrize("put", BY_URLLIB3)
def test_urllib3_was_always_refused(put: Callable[..., None]) -> None:
    with refusing() as port:
        url = f"http://localhost:{port}"
        assert outcome(lambda: put(url, urllib3.Retry(2))) is NOT_DONE


@pytest.mark.parametrize("put", BY_URLLIB3)
def test_urllib3_was_refused_after_a_lost_answer(put: Callable[..., None]) -> None:
    with serving(goes_away) as server:
        error = raised(lambda: put(server.url, urllib3.Retry(1)))
    assert "Connection refused" in str(error)
    assert explain(error).outcome is UNKNOWN
    assert len(server.whole) == 1


def test_requests_was_declined_after_an_answer_that_it_hid() -> None:
    retries = urllib3.Retry(1, status_forcelist=[503])
    with serving(in_turn(once(503), DECLINED)) as server:
        error = raised(lambda: put_by_requests(server.url, retries))
    assert isinstance(error, requests.HTTPError)
    assert explain(error).outcome is UNKNOWN
    assert len(server.whole) == 2


def once(status: int, **headers: str) -> Callable[[Exchange], None]:
    """One answer, and the end of the connection."""

    def behave(exchange: Exchange) -> None:
        exchange.request()
        exchange.answer(status, "", connection="close", **headers)

    return behave


# ── httpx: only connecting ──────────────────────────────────────────────────────────────────────


def post_by_httpx(url: str) -> None:
    transport = httpx.HTTPTransport(retries=1)
    with httpx.Client(transport=transport, timeout=TIMEOUT_S) as client:
        client.post(url).raise_for_status()


def test_httpx_repeats_only_what_was_not_sent() -> None:
    with refusing() as port:
        assert outcome(lambda: post_by_httpx(f"http://localhost:{port}")) is NOT_DONE
    with serving(resets_after) as server:
        assert outcome(lambda: post_by_httpx(server.url)) is UNKNOWN
    assert len(server.whole) == 1


# ── aiohttp: once, if an old connection breaks ──────────────────────────────────────────────────


def answers_once_and_goes_away(exchange: Exchange) -> None:
    exchange.request()
    exchange.answer(200)
    goes_away(exchange)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_aiohttp_was_refused_after_a_lost_answer(method: str) -> None:
    async def twice(server: Server) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(server.url) as response:
                await response.read()
            async with session.request(method, server.url):
                pass

    with serving(answers_once_and_goes_away) as server:
        error = raised(lambda: asyncio.run(twice(server)))
    assert isinstance(error, aiohttp.ClientConnectorError)
    assert explain(error).outcome is UNKNOWN
    assert len(server.whole) == 2


def test_aiohttp_was_refused_at_once() -> None:
    async def put(url: str, timeout_s: float) -> None:
        async with aiohttp.ClientSession() as session, session.put(url):
            pass

    with refusing() as port:
        act = running(put)
        assert outcome(lambda: act(f"http://localhost:{port}", TIMEOUT_S)) is NOT_DONE


# ── botocore: four times in its legacy mode ─────────────────────────────────────────────────────


def test_botocore_was_refused_after_a_lost_answer(hurried: None) -> None:
    with serving(goes_away) as server:
        error = raised(lambda: by_botocore(server.url, TIMEOUT_S, retries=1))
    assert "Could not connect" in str(error)
    assert explain(error).outcome is UNKNOWN
    assert len(server.whole) == 1


AWS_NO = answers(400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "No such queue"})


@pytest.mark.parametrize(("behave", "expected"), [(AWS_NO, REFUSED), (BROKEN, UNKNOWN)])
def test_botocore_was_answered_at_once(
    behave: Callable[[Exchange], None], expected: Outcome
) -> None:
    with serving(behave) as server:
        assert outcome(lambda: by_botocore(server.url, TIMEOUT_S)) is expected
    assert len(server.whole) == 1


def test_botocore_was_refused_by_the_second_answer(hurried: None) -> None:
    """The first request may have made what the second one complains of."""
    with serving(in_turn(once(500), AWS_NO)) as server:
        judgement = judge(raised(lambda: by_botocore(server.url, TIMEOUT_S, retries=1)))
    assert (judgement.outcome, judgement.message) == (UNKNOWN, "No such queue")
    assert len(server.whole) == 2


# ── redirects: what answered with one may have been done ────────────────────────────────────────


def follow_by_httpx(url: str) -> None:
    with httpx.Client(follow_redirects=True, trust_env=False) as client:
        client.post(url).raise_for_status()


async def follow_by_httpx_async(url: str, timeout_s: float) -> None:
    async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
        (await client.post(url, timeout=timeout_s)).raise_for_status()


FOLLOWING: dict[str, Callable[[str], Any]] = {
    "httpx": follow_by_httpx,
    "httpx async": lambda url: running(follow_by_httpx_async)(url, TIMEOUT_S),
    **{
        name: (lambda url, name=name: DRIVERS[name](url, TIMEOUT_S))
        for name in ("requests", "aiohttp", "urllib")
    },
}


@pytest.mark.parametrize("follow", FOLLOWING)
def test_a_redirect_that_led_nowhere(follow: str) -> None:
    with refusing() as port, serving(once(302, location=f"http://localhost:{port}/")) as server:
        assert outcome(lambda: FOLLOWING[follow](server.url)) is UNKNOWN
    assert len(server.whole) == 1


@pytest.mark.parametrize("follow", FOLLOWING)
def test_a_redirect_that_led_to_a_refusal(follow: str) -> None:
    with serving(MISSING) as other, serving(once(303, location=other.url)) as server:
        assert outcome(lambda: FOLLOWING[follow](server.url)) is UNKNOWN
    assert len(server.whole) == len(other.whole) == 1


# ── where the libraries keep their count ────────────────────────────────────────────────────────


def test_every_repeater_exists() -> None:
    """If a library renames what is looked at here, the tests above fail; this one says why."""
    homes = {
        "urllib.HTTPRedirectHandler": "urllib.request",
        "requests.SessionRedirectMixin": "requests.sessions",
        "urllib3.Retry": "urllib3.util.retry",
        "stripe.HTTPClient": "stripe._http_client",
        "stripe._APIRequestor": "stripe._api_requestor",
        "botocore.Endpoint": "botocore.endpoint",
    }
    for name in REPEATERS:
        owner, _, function = name.rpartition(".")
        package, _, cls = owner.partition(".")
        module = importlib.import_module(homes.get(owner, package))
        assert hasattr(getattr(module, cls), function), name
