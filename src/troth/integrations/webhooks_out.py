"""Webhooks out, as Standard Webhooks 1.0.0 has them: signed, retried for days, never to an address that is not public.

    events = troth.include(Outbox("events", destinations=[Webhooks()]))

The name in a URL is resolved once, all its addresses are checked, and the connection goes to an address that was checked,
so a name that answers otherwise the next time leads nowhere (DNS rebinding). TLS is verified against the name. There are
no redirects, no cookies, and no proxies from the environment.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from troth.base import codec
from troth.base.errors import TrothError, UsageError
from troth.outbox.model import (
    ANSWER_BYTES,
    STANDARD_WEBHOOKS,
    Delivered,
    Outcome,
    Outgoing,
    Receiver,
    Terms,
    Unsettled,
)

if TYPE_CHECKING:
    import httpcore2

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

_OURS = frozenset({"connection", "content-length", "content-type", "expect", "host", "te", "trailer", "transfer-encoding",
                   "upgrade", "user-agent"})  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_KINDS = (
    "unspecified",
    "loopback",
    "link_local",
    "multicast",
    "site_local",
    "private",
    "reserved",
)
_THROTTLES = frozenset({429, 502, 503, 504})
_GONE = 410
_IDLE_S = 5.0
_CONNECTIONS = 256


class AddressNotAllowedError(TrothError):
    """The endpoint's name leads to an address that may not be called."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the system knows them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def not_public(text: str) -> str | None:
    """Why an address may not be called, or None: private, loopback, link-local, multicast, reserved … (RFC 6890).

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged by that.
    """
    for each in _meant(ipaddress.ip_address(text.partition("%")[0])):
        for kind in _KINDS:
            if getattr(each, f"is_{kind}", False):
                return kind.replace("_", "-")
        if not each.is_global:
            return "not global"
    return None


def _meant(address: Address) -> Sequence[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address in _NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    inside = address.ipv4_mapped or address.sixtofour
    return address.teredo or ((inside,) if inside else (address,))


class Webhooks:
    """Sends to the endpoints of an outbox; see `Outbox.endpoints`.

    *concurrency*: requests at once at one endpoint, per worker process. *schedule*: seconds before each try. *give_up_after*:
    an endpoint that has failed for so long is disabled. *allow_http*: endpoints without TLS may be registered. *tls*: whom
    to trust, if not whom the system trusts.
    """

    def __init__(
        self,
        name: str = "webhooks",
        *,
        concurrency: int = 4,
        timeout: float = 20.0,
        schedule: Sequence[float] = STANDARD_WEBHOOKS,
        give_up_after: timedelta = timedelta(days=5),
        allow_http: bool = False,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver = resolve,
    ) -> None:
        _require_packages()
        self.name = name
        self.terms = Terms(
            concurrency=concurrency,
            timeout_s=timeout,
            schedule=tuple(schedule),
            to_endpoints=True,
            give_up_after=give_up_after,
        )
        self._allow_http = allow_http
        self._tls = tls
        self._resolver = resolver
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, Any]] = (
            WeakKeyDictionary()
        )

    def check(self, kind: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Raise `UsageError` for headers that this or HTTP itself sets."""
        _ = kind, payload
        for name in headers:
            if name.lower() in _OURS or name.lower().startswith("webhook-"):
                msg = f"the header {name} is set by the sender of webhooks"
                raise UsageError(msg)

    def check_url(self, url: str, *, allow_private: bool) -> None:
        """Raise `UsageError` for a URL that will never be called. What its name leads to is looked at for each call."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            msg = f"{url!r} is not a URL: {error}"
            raise UsageError(msg) from None
        schemes = ("https", "http") if self._allow_http else ("https",)
        if (
            parts.scheme not in schemes
            or not host
            or not url.isascii()
            or not url.isprintable()
            or " " in url
        ):
            msg = (
                f"{url!r} cannot be an endpoint: write {' or '.join(schemes)}://host/path in ASCII"
            )
            raise UsageError(msg)
        if parts.username is not None or parts.fragment:
            msg = f"an endpoint has no user and no fragment in its URL: {host}"
            raise UsageError(msg)
        try:
            why = not_public(host)
        except ValueError:
            return  # a name
        if why and not allow_private:
            msg = f"{host} is {why}: an endpoint must be public (allow_private=True allows others)"
            raise UsageError(msg)

    async def deliver(self, message: Outgoing) -> Outcome:
        """POST it once. Anything but a 2xx is a failure, a redirect too."""
        import httpcore2

        receiver = message.receiver
        assert receiver is not None
        body = envelope(message)
        try:
            answer = await self._post(receiver, body, headers_of(message, receiver, body))
        except AddressNotAllowedError as error:
            return Unsettled(str(error), sent=False)
        except (
            httpcore2.ConnectError,
            httpcore2.ConnectTimeout,
            httpcore2.PoolTimeout,
            socket.gaierror,
        ) as error:
            return Unsettled(f"{type(error).__name__}: {error}", sent=False)
        except (
            httpcore2.NetworkError,
            httpcore2.TimeoutException,
            httpcore2.ProtocolError,
        ) as error:
            return Unsettled(f"{type(error).__name__}: {error}")
        return outcome_of(answer)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        for pool in self._pools.pop(asyncio.get_running_loop(), {}).values():
            await pool.aclose()

    async def _post(self, receiver: Receiver, body: bytes, headers: Mapping[str, str]) -> Answer:
        timeout_s = self.terms.timeout_s
        limits = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        pool = self._pool(allow_private=receiver.allow_private)
        async with pool.stream(
            "POST",
            receiver.url,
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            content=body,
            extensions={"timeout": limits},
        ) as response:
            read = b""
            async for part in response.aiter_stream():
                read += part
                if len(read) >= ANSWER_BYTES:
                    break  # the connection is closed with what is left
            told = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            return Answer(response.status, told, read[:ANSWER_BYTES])

    def _pool(self, *, allow_private: bool) -> httpcore2.AsyncConnectionPool:
        """Connections are shared by those endpoints only that are checked alike."""
        import httpcore2

        pools = self._pools.setdefault(asyncio.get_running_loop(), {})
        if allow_private not in pools:
            pools[allow_private] = httpcore2.AsyncConnectionPool(
                ssl_context=self._tls or ssl.create_default_context(),
                max_connections=_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
                network_backend=_checked_backend(self._resolver, allow_private=allow_private),
            )
        pool: httpcore2.AsyncConnectionPool = pools[allow_private]
        return pool


# What is sent ---------------------------------------------------------------------------------------------------------


def envelope(message: Outgoing) -> bytes:
    """The body: type, timestamp and data, as the specification recommends. The same bytes for every attempt."""
    head = codec.encode({"timestamp": message.published_at, "type": message.type})
    return head[:-1] + b',"data":' + message.payload + b"}"


def headers_of(message: Outgoing, receiver: Receiver, body: bytes) -> dict[str, str]:
    """The headers of one attempt: its id stays, its time and signatures are new. Every valid secret signs."""
    from standardwebhooks import Webhook

    now = datetime.now(UTC)
    signatures = [
        Webhook(secret).sign(str(message.id), now, body.decode()) for secret in receiver.secrets
    ]
    return {
        "host": urlsplit(receiver.url).netloc,
        **message.headers,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": "troth",
        "webhook-id": str(message.id),
        "webhook-timestamp": str(math.floor(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


# What came back -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def outcome_of(answer: Answer) -> Outcome:
    """What an answer means: only 2xx is success, 410 is the wish to be left alone."""
    status = str(answer.status)
    if 200 <= answer.status < 300:
        return Delivered(status, answer.body)
    if answer.status == _GONE:
        return Unsettled(status, answer.body, disable="it answered 410 Gone")
    asked = answer.headers.get("retry-after") if answer.status in _THROTTLES else None
    return Unsettled(status, answer.body, retry_after_s=retry_after_s(asked, datetime.now(UTC)))


def retry_after_s(text: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After asks for: a number or a date (RFC 9110, section 10.2.3)."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text[:12])
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - now).total_seconds(), 0.0)


# Where it goes --------------------------------------------------------------------------------------------------------


async def allowed_addresses(
    resolver: Resolver, host: str, port: int, *, allow_private: bool
) -> Sequence[str]:
    """The addresses of *host*. Raises `AddressNotAllowedError` if one of them is not public."""
    addresses = await resolver(host, port)
    if not allow_private:
        for each in addresses:
            if why := not_public(each):
                msg = f"not sent: {host} leads to {each}, which is {why}"
                raise AddressNotAllowedError(msg)
    if not addresses:
        msg = f"not sent: {host} has no address"
        raise AddressNotAllowedError(msg)
    return addresses


def _checked_backend(resolver: Resolver, *, allow_private: bool) -> httpcore2.AsyncNetworkBackend:
    """Opens connections to addresses that it has checked, and to no name."""
    import httpcore2

    plain = httpcore2.AnyIOBackend()

    class Checked(httpcore2.AsyncNetworkBackend):
        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
        ) -> httpcore2.AsyncNetworkStream:
            addresses = await allowed_addresses(resolver, host, port, allow_private=allow_private)
            for address in addresses[:-1]:
                try:
                    return await plain.connect_tcp(
                        address, port, timeout, local_address, socket_options
                    )
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                    continue
            return await plain.connect_tcp(
                addresses[-1], port, timeout, local_address, socket_options
            )

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    return Checked()


def _require_packages() -> None:
    try:
        import httpcore2  # noqa: F401
        import standardwebhooks  # noqa: F401
    except ImportError as error:
        msg = f"webhooks need more packages ({error.name}): pip install 'troth[webhooks]'"
        raise UsageError(msg) from None
