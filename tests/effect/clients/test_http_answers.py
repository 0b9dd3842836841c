"""What the other side says: statuses, error codes, its own words, and when it wants to be asked again."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests

from tests.effect.clients.drivers import DRIVERS, STRIPE_OVER_HTTPX, TIMEOUT_S
from tests.effect.clients.misbehaving import (
    Exchange,
    Server,
    answers,
    serving,
    status_of_the_path,
)
from troth.effect.client_answers import retry_after_s
from troth.effect.client_codes import AWS_CODES, STATUS_CLASSES, STATUSES, of_status
from troth.effect.clients import explain, judge
from troth.effect.model import Outcome

pytestmark = STRIPE_OVER_HTTPX

UNLISTED = (204, 302, 418, 499, 500, 501, 502, 503, 504, 529)
RAISING = sorted(DRIVERS.keys() - {"urllib3"})  # it does not raise for a status


# ── statuses ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def any_status() -> Iterator[Server]:
    with serving(status_of_the_path) as server:
        yield server


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("status", [*STATUSES, *UNLISTED])
def test_every_status(any_status: Server, client: httpx.Client, status: int) -> None:
    response = client.post(any_status.url.replace("v1/charges", str(status)), content=b"charge")
    assert response.status_code == status

    ruling = explain(httpx.HTTPStatusError("", request=response.request, response=response))
    assert (ruling.outcome, ruling.because) == (of_status(status).says, of_status(status).because)


def test_every_class_of_statuses_has_a_case() -> None:
    assert {status // 100 for status in UNLISTED} == set(STATUS_CLASSES)
    assert not set(UNLISTED) & set(STATUSES)


@pytest.mark.parametrize("status", UNLISTED)
def test_what_is_not_listed_is_unknown(status: int) -> None:
    assert of_status(status).says is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (402, Outcome.REFUSED),
        (422, Outcome.REFUSED),
        (401, Outcome.NOT_DONE),
        (429, Outcome.NOT_DONE),
        (409, Outcome.UNKNOWN),
        (500, Outcome.UNKNOWN),
        (503, Outcome.UNKNOWN),
    ],
)
@pytest.mark.parametrize("driver", RAISING)
def test_statuses_that_matter(driver: str, status: int, outcome: Outcome) -> None:
    with serving(answers(status, {"error": {"message": "no"}})) as server:
        assert judge(failure(driver, server)).outcome is outcome
    assert len(server.whole) == 1


def failure(driver: str, server: Server) -> Exception:
    with pytest.raises(Exception) as caught:
        DRIVERS[driver](server.url, TIMEOUT_S)
    return caught.value


# ── error codes of AWS ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", AWS_CODES)
def test_every_error_code_of_aws(code: str) -> None:
    said = {"__type": f"com.amazonaws.sqs#{code}", "message": "Rate exceeded"}
    with serving(answers(400, said)) as server:
        error = failure("botocore", server)
    assert explain(error).outcome is AWS_CODES[code].says
    assert judge(error).message == "Rate exceeded"


# ── words ───────────────────────────────────────────────────────────────────────────────────────

DECLINED = "Your card was declined."

# How APIs say it, and what is taken from it.
SAID: list[tuple[Any, str]] = [
    ({"error": {"message": DECLINED, "type": "card_error"}}, DECLINED),
    ({"type": "about:blank", "title": "Declined", "detail": DECLINED}, DECLINED),
    ({"type": "about:blank", "title": "Declined"}, "Declined"),
    ({"message": DECLINED}, DECLINED),
    ({"error": "invalid_grant", "error_description": "expired"}, "invalid_grant"),
    ({"detail": [{"loc": ["body"], "msg": "too small"}, {"msg": "no"}]}, "too small; no"),
    ({"errors": [{"title": "a"}, {"detail": "b"}]}, "a; b"),
    (DECLINED + "\n", DECLINED),  # as text/plain
    (["a", "b"], "a; b"),
    ({"unheard": "of"}, "402 Payment Required"),
    ({"error": {"message": None}, "detail": []}, "402 Payment Required"),
    (b"\xff\xfe not text", "402 Payment Required"),
    ({"message": "x" * 1000}, "x" * 500),
    ("", "402 Payment Required"),
]


@pytest.mark.parametrize(("body", "words"), SAID)
@pytest.mark.parametrize("driver", ["httpx", "requests"])
def test_the_provider_s_own_words(driver: str, body: Any, words: str) -> None:
    with serving(answers(402, body)) as server:
        assert judge(failure(driver, server)).message == words


def test_words_by_the_other_libraries() -> None:
    with serving(answers(402, {"error": {"message": DECLINED}})) as server:
        said = {driver: judge(failure(driver, server)).message for driver in RAISING}
    heads = {"aiohttp": "Whatever", "urllib": "402 Whatever", "botocore": "402"}
    assert said == {driver: heads.get(driver, DECLINED) for driver in RAISING}


def test_a_page_for_people_is_not_the_reason() -> None:
    with serving(answers(403, "<html>blocked</html>", content_type="text/html")) as server:
        assert judge(failure("httpx", server)).message == "403 Forbidden"


def never_sends_the_body(exchange: Exchange) -> None:
    exchange.request()
    exchange.send("HTTP/1.1 402 Payment Required\r\ncontent-length: 10\r\n\r\n")
    exchange.hang()


def test_a_body_that_was_not_read_is_not_waited_for() -> None:
    with serving(never_sends_the_body) as server:
        with (
            httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client,
            client.stream("POST", server.url) as response,
            pytest.raises(httpx.HTTPStatusError) as by_httpx,
        ):
            response.raise_for_status()
        with requests.post(server.url, stream=True, timeout=TIMEOUT_S) as unread:
            with pytest.raises(requests.HTTPError) as by_requests:
                unread.raise_for_status()
            began = time.monotonic()
            for caught in (by_httpx, by_requests):
                assert judge(caught.value).message == "402 Payment Required"
            assert time.monotonic() - began < TIMEOUT_S / 2


# ── when to ask again ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("driver", RAISING)
def test_every_library_tells_when_to_ask_again(driver: str) -> None:
    with serving(answers(429, {"error": {"message": "no"}}, retry_after="7")) as server:
        assert judge(failure(driver, server)).retry_after_s == 7.0


def test_a_server_that_is_overloaded_may_say_when_to_ask_again() -> None:
    with serving(answers(503, "", retry_after="120")) as server:
        judgement = judge(failure("httpx", server))
    assert (judgement.outcome, judgement.retry_after_s) == (Outcome.UNKNOWN, 120.0)


NOW_S = 1_800_000_000.0


def date(seconds: float) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": date(NOW_S + 30)}, 30.0),
        ({"retry-after": date(NOW_S - 30)}, 0.0),
        ({"retry-after": date(NOW_S + 30), "date": date(NOW_S + 20)}, 10.0),
        ({"retry-after": date(NOW_S + 30), "date": "yesterday"}, 30.0),
    ],
)
def test_retry_after(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, NOW_S) == wait_s
