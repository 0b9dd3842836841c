"""What an exception shows beside its class: what it wraps, which functions it came out of, how often was sent.

Client libraries repeat by themselves: they retry, they follow redirects. Then an exception tells of the last request
only, and "not done" is true of that one alone. Their functions keep the count in their variables, which a traceback
still has; where a library is changed so that it is not found any more, nothing is proved, and the effect is unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import FrameType
from typing import Any

_Locals = Mapping[str, Any]


class Sent(Enum):
    """How often an effect's request was sent, as far as it is known."""

    ONCE = "once"
    KEYED = "repeatedly, under one idempotency key: a refusal is of all of them"
    REPEATED = "repeatedly, or somewhere else before"


@dataclasses.dataclass(frozen=True, slots=True)
class Repeater:
    """A function of a client library that may send several requests, and how its variables tell."""

    name: str
    sent: Callable[[_Locals], Sent]
    because: str


def _if(repeated: object) -> Sent:
    return Sent.REPEATED if repeated else Sent.ONCE


def _by_aiohttp(local: _Locals) -> Sent:
    retried = local["method"] in {"PUT", "DELETE"} and not local["retry_persistent_connection"]
    return _if(retried or local["history"])


def _by_stripe(local: _Locals) -> Sent:
    if not local["requestor"]._options.max_network_retries:  # noqa: SLF001  (said nowhere else)
        return Sent.ONCE
    return Sent.KEYED if local["method"].lower() == "post" else Sent.REPEATED


_REDIRECTS = "redirects that it follows"
_RETRIES = "its own retries"

REPEATERS: Mapping[str, Repeater] = {
    one.name: one
    for one in (
        Repeater("urllib.HTTPRedirectHandler.http_error_302", lambda _: Sent.REPEATED, _REDIRECTS),
        Repeater(
            "requests.SessionRedirectMixin.resolve_redirects", lambda _: Sent.REPEATED, _REDIRECTS
        ),
        *(
            Repeater(
                f"{package}.{client}._send_handling_redirects",
                lambda local: _if(local["history"]),
                _REDIRECTS,
            )
            for package in ("httpx", "httpx2")
            for client in ("Client", "AsyncClient")
        ),
        Repeater(
            "aiohttp.ClientSession._request",
            _by_aiohttp,
            "redirects that it follows, and a PUT or DELETE whose old connection broke",
        ),
        Repeater(
            "urllib3.Retry.increment",
            lambda local: _if(not only_connecting(local["self"].history)),
            _RETRIES,
        ),
        *(
            Repeater(
                f"stripe.HTTPClient._request_with_retries_internal{kind}",
                lambda local: _if(local["num_retries"]),
                _RETRIES,
            )
            for kind in ("", "_async")
        ),
        *(
            Repeater(f"stripe._APIRequestor.request{kind}", _by_stripe, _RETRIES)
            for kind in ("", "_async")
        ),
        Repeater(
            "botocore.Endpoint._send_request", lambda local: _if(local["attempts"] > 1), _RETRIES
        ),
    )
}


def only_connecting(history: Any) -> bool:
    """Did every request in a history of urllib3's retries fail before it was sent?"""
    return all("urllib3.ConnectTimeoutError" in kin(past.error) for past in history)


def sent(error: BaseException) -> Sent | None:
    """How often the library that raised it had sent; None if the traceback does not say."""
    for name, frame in _frames(error):
        if repeater := REPEATERS.get(name):
            try:
                return repeater.sent(frame.f_locals)
            except (KeyError, AttributeError, TypeError):
                return None
    return None


def places(error: BaseException) -> Iterator[str]:
    """The functions that the exception came out of, innermost first."""
    return (name for name, _ in _frames(error))


def message_was_sent(error: BaseException) -> bool:
    """Is this the reply to a mail's content, and not to the DATA command that announces it?"""
    for name, frame in _frames(error):
        if name == "smtplib.SMTP.data":
            return False  # it returns the reply to the content, and raises the other
        if name == "aiosmtplib.SMTPProtocol.execute_data_command":
            return "response" in frame.f_locals
    return True


def kin(error: object) -> list[str]:
    """The names of the exception's class and of the classes that it inherits from."""
    return [_name(base.__module__, base.__qualname__) for base in type(error).__mro__]


def unwrapped(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it wraps, what that wraps…

    Wrapped is the declared cause (httpx, aiohttp, stripe) or an argument (requests, urllib, botocore). What was being
    handled when an exception was raised (`__context__`) says nothing: after a refused connection another one may have
    been tried.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        yield one
        seen.add(id(one))
        one = one.__cause__ or next(_arguments(one), None)


def _arguments(error: BaseException) -> Iterator[BaseException]:
    keywords = getattr(error, "kwargs", None)
    named = keywords.values() if isinstance(keywords, dict) else ()
    return (one for one in (*error.args, *named) if isinstance(one, BaseException))


def _frames(error: BaseException) -> Iterator[tuple[str, FrameType]]:
    """The functions on the exception's traceback, innermost first."""
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    for frame in reversed(frames):
        yield _name(frame.f_globals.get("__name__", ""), frame.f_code.co_qualname), frame


def _name(module: str, qualname: str) -> str:
    """As one imports it: `httpx.ConnectError`, whatever private module it is in; builtins bare."""
    package = module.partition(".")[0]
    return qualname if package == "builtins" else f"{package}.{qualname}"
