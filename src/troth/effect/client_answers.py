"""What the other side said: the status, the words and the wishes in an exception that carries an answer.

Nothing is read from a connection here: of an answer whose body the library has not read, only the head is known.
"""

from __future__ import annotations

import dataclasses
import email.utils
import http
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from troth.effect.client_evidence import Sent, kin, only_connecting

_LONGEST_WORDS = 500  # characters


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. *code* is the error code that AWS puts beside the status; *sent* what the answer shows of it."""

    status: int | None
    words: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    code: str = ""
    sent: Sent | None = None


def answer_of(error: BaseException) -> Answer | None:
    """The HTTP answer that an exception of a known library carries."""
    for name in kin(error):
        if read := _READERS.get(name):
            return read(error)
    return None


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE of a database's error."""
    sqlstate = getattr(error, "sqlstate", None)
    return sqlstate if isinstance(sqlstate, str) else None


def reply_of(error: BaseException) -> list[tuple[int, str]]:
    """The SMTP replies, code and text, that an exception of smtplib or aiosmtplib carries."""
    found: Any = error
    recipients = getattr(found, "recipients", None)
    if isinstance(recipients, dict):
        return [(code, f"{_text(said)} ({whom})") for whom, (code, said) in recipients.items()]
    if isinstance(recipients, list):
        return [(one.code, f"{one.message} ({one.recipient})") for one in recipients]
    if hasattr(found, "smtp_code"):
        return [(found.smtp_code, _text(found.smtp_error))]
    return [(found.code, found.message)] if hasattr(found, "code") else []


def words_of(error: BaseException) -> str:
    """What the other side said, in its own words; "" if it said nothing."""
    if answer := answer_of(error):
        return answer.words if answer.status is not None else ""
    if sqlstate_of(error):
        diagnosis: Any = getattr(error, "diag", None)
        said = (diagnosis.message_primary, diagnosis.message_detail) if diagnosis else ()
        return ". ".join(filter(None, said))
    if any(name in kin(error) for name in ("smtplib.SMTPException", "aiosmtplib.SMTPException")):
        return "; ".join(f"{code} {text}" for code, text in reply_of(error))
    return ""


def retry_after_s(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """Seconds that the other side wants to be left alone: `Retry-After`, as seconds or as a date.

    A date is compared with the answer's own `Date`, so that clocks need not agree; with *now_s* (seconds since 1970)
    if there is none.
    """
    wish = headers.get("retry-after")
    if wish is None:
        return None
    try:
        wait_s = float(wish)
    except ValueError:
        until_s, sent_s = _seconds(wish), _seconds(headers.get("date", ""))
        if until_s is None:
            return None
        wait_s = until_s - (sent_s or now_s or time.time())
    return max(0.0, wait_s) if math.isfinite(wait_s) else None


def _seconds(date: str) -> float | None:
    """An HTTP date, in seconds since 1970."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


# ── one reader per library ──────────────────────────────────────────────────────────────────────


def _of_response(error: Any) -> Answer | None:
    """httpx, httpx2 and requests: the response is in the exception."""
    response = error.response
    if response is None:
        return None
    head = {name.lower(): value for name, value in response.headers.items()}
    words = _words(_body(response), head) or _phrase(response.status_code)
    elsewhere = any(hop.status_code not in {307, 308} for hop in response.history)
    retries = getattr(getattr(response, "raw", None), "retries", None)
    repeated = elsewhere or not only_connecting(getattr(retries, "history", ()))
    return Answer(response.status_code, words, head, sent=Sent.REPEATED if repeated else None)


def _body(response: Any) -> str:
    """What the library has read of the body."""
    if getattr(response, "_content", None) is False:  # requests would now go and read it
        return ""
    try:
        return str(response.text)
    except Exception:  # noqa: BLE001  (a stream that was not read, an encoding that does not exist)
        return ""


def _of_aiohttp(error: Any) -> Answer:
    """aiohttp: the head alone."""
    head = {name.lower(): value for name, value in (error.headers or {}).items()}
    elsewhere = any(hop.status not in {307, 308} for hop in error.history)
    words = error.message or _phrase(error.status)
    return Answer(error.status or None, words, head, sent=Sent.REPEATED if elsewhere else None)


def _of_urllib(error: Any) -> Answer:
    """urllib: the head alone; the body is still in the connection."""
    head = {name.lower(): value for name, value in error.headers.items()}
    return Answer(error.code, " ".join(f"{error.code} {error.reason}".split()), head)


def _of_stripe(error: Any) -> Answer:
    """The stripe SDK."""
    head = {name.lower(): value for name, value in (error.headers or {}).items()}
    return Answer(error.http_status, error.user_message or "", head)


def _of_botocore(error: Any) -> Answer:
    """botocore: what it parsed, and how often it tried."""
    said, about = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    retries = about.get("RetryAttempts")
    sent = None if retries is None else Sent.REPEATED if retries else Sent.ONCE
    words = said.get("Message") or said.get("Code", "")
    head = about.get("HTTPHeaders", {})
    return Answer(about.get("HTTPStatusCode"), words, head, said.get("Code", ""), sent)


_READERS: Mapping[str, Callable[[Any], Answer | None]] = {
    "httpx.HTTPStatusError": _of_response,
    "httpx2.HTTPStatusError": _of_response,
    "requests.HTTPError": _of_response,
    "aiohttp.ClientResponseError": _of_aiohttp,
    "urllib.HTTPError": _of_urllib,
    "stripe.StripeError": _of_stripe,
    "botocore.ClientError": _of_botocore,
}


# ── the provider's own words ────────────────────────────────────────────────────────────────────


def _words(body: str, head: Mapping[str, str]) -> str:
    """What a body says to people: a sentence of its JSON, or its plain text."""
    try:
        found = next(_sentences(json.loads(body)), "")
    except ValueError:
        found = body if head.get("content-type", "").startswith("text/plain") else ""
    return " ".join(found.split())[:_LONGEST_WORDS]


def _sentences(said: Any) -> Iterator[str]:
    """Where APIs put their reason: Stripe's `error.message`, problem details (RFC 9457), and the like."""
    match said:
        case str():
            yield said
        case [*parts] if parts:
            yield "; ".join(filter(None, (next(_sentences(part), "") for part in parts)))
        case dict():
            for name in (
                "error",
                "detail",
                "title",
                "message",
                "msg",
                "error_description",
                "errors",
            ):
                yield from filter(None, _sentences(said.get(name)))


def _phrase(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said
