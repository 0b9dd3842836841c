"""What the exceptions of client libraries mean: data. `troth.effect.clients` reads it.

Libraries are named, never imported. A class is named by its package and its own name, as one imports it
(`httpx.ConnectError`), and its row holds for its subclasses. Whatever has no row is *unknown*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum

from troth.effect.model import Outcome

_UNKNOWN, _NOT_DONE = Outcome.UNKNOWN, Outcome.NOT_DONE


class Reading(Enum):
    """Where the meaning is, if the class of an exception alone does not say it."""

    INSIDE = "of the exception that it wraps"
    STATUS = "of its HTTP status"
    REPLY = "of its SMTP reply"
    SQLSTATE = "of its SQLSTATE"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What an exception of a class says of the effect.

    *repeats*: the library may have sent more than one request, and the exception tells of the last. Then *not done* is
    believed only if the traceback shows that there was one.
    """

    name: str
    says: Outcome | Reading
    because: str
    repeats: bool = False


# ── classes of exceptions ───────────────────────────────────────────────────────────────────────

PYTHON = (
    Row("ConnectionRefusedError", _NOT_DONE, "nobody listened"),
    Row("socket.gaierror", _NOT_DONE, "the host's name was not resolved"),
    Row(
        "ssl.SSLCertVerificationError",
        _NOT_DONE,
        "we rejected its certificate, before we sent anything",
    ),
    Row(
        "ssl.SSLError",
        _UNKNOWN,
        "an alert may be the answer to a request (a client certificate in TLS 1.3)",
    ),
    Row("ConnectionResetError", _UNKNOWN, "the connection was cut; the request may have arrived"),
    Row("BrokenPipeError", _UNKNOWN, "the connection was cut; the request may have arrived"),
    Row("TimeoutError", _UNKNOWN, "nobody answered in time"),
    Row("asyncio.CancelledError", _UNKNOWN, "we stopped waiting for the answer"),
    Row("json.JSONDecodeError", _UNKNOWN, "there was an answer, but not one that can be read"),
    Row("http.HTTPException", _UNKNOWN, "the answer was cut off, or was not HTTP"),
    Row("urllib.HTTPError", Reading.STATUS, "the other side answered"),
    Row("urllib.URLError", Reading.INSIDE, "wraps what went wrong until the request was sent"),
)


def _httpx(package: str) -> tuple[Row, ...]:
    return (
        Row(f"{package}.ConnectError", _NOT_DONE, "no connection: refused, name, or TLS handshake"),
        Row(f"{package}.ConnectTimeout", _NOT_DONE, "no connection in time"),
        Row(f"{package}.PoolTimeout", _NOT_DONE, "no connection of the pool was free in time"),
        Row(f"{package}.ProxyError", _NOT_DONE, "the proxy did not connect us"),
        Row(f"{package}.UnsupportedProtocol", _NOT_DONE, "the address is none of HTTP"),
        Row(f"{package}.InvalidURL", _NOT_DONE, "the address is none"),
        Row(f"{package}.ReadTimeout", _UNKNOWN, "sent, and not answered in time"),
        Row(f"{package}.WriteTimeout", _UNKNOWN, "sent in part"),
        Row(f"{package}.NetworkError", _UNKNOWN, "the connection was cut"),
        Row(f"{package}.RemoteProtocolError", _UNKNOWN, "the answer was cut off, or was not HTTP"),
        Row(f"{package}.DecodingError", _UNKNOWN, "the answer's compression is broken"),
        Row(f"{package}.TooManyRedirects", _UNKNOWN, "what is redirected may have been done"),
        Row(f"{package}.HTTPStatusError", Reading.STATUS, "the other side answered"),
    )


REQUESTS = (
    Row("urllib3.NewConnectionError", _NOT_DONE, "no connection: refused, or name"),
    Row("urllib3.ConnectTimeoutError", _NOT_DONE, "no connection in time"),
    Row("urllib3.EmptyPoolError", _NOT_DONE, "no connection of the pool was free in time"),
    Row("urllib3.ProxyError", _NOT_DONE, "the proxy did not connect us"),
    Row("urllib3.LocationValueError", _NOT_DONE, "the address is none"),
    Row("urllib3.SSLError", Reading.INSIDE, "wraps an error of TLS"),
    Row(
        "urllib3.MaxRetryError",
        Reading.INSIDE,
        "wraps the last error; those before it are asked too",
        repeats=True,
    ),
    Row("urllib3.ReadTimeoutError", _UNKNOWN, "sent, and not answered in time"),
    Row("urllib3.ProtocolError", _UNKNOWN, "the connection or the answer was cut off"),
    Row("urllib3.DecodeError", _UNKNOWN, "the answer's compression is broken"),
    Row("urllib3.ResponseError", _UNKNOWN, "gave up after answers that it does not tell"),
    Row("requests.ConnectionError", Reading.INSIDE, "wraps an error of urllib3"),
    Row("requests.ReadTimeout", _UNKNOWN, "sent, and not answered in time"),
    Row("requests.ChunkedEncodingError", _UNKNOWN, "the answer was cut off"),
    Row("requests.ContentDecodingError", _UNKNOWN, "the answer's compression is broken"),
    Row("requests.TooManyRedirects", _UNKNOWN, "what is redirected may have been done"),
    Row("requests.InvalidURL", _NOT_DONE, "the address is none"),
    Row("requests.MissingSchema", _NOT_DONE, "the address is none"),
    Row("requests.InvalidSchema", _NOT_DONE, "the address is none of HTTP"),
    Row("requests.HTTPError", Reading.STATUS, "the other side answered"),
)

AIOHTTP = (
    Row(
        "aiohttp.ClientConnectorError", _NOT_DONE, "no connection: refused, name, or TLS handshake"
    ),
    Row("aiohttp.ConnectionTimeoutError", _NOT_DONE, "no connection in time, or none free"),
    Row("aiohttp.ClientHttpProxyError", _NOT_DONE, "the proxy did not connect us"),
    Row("aiohttp.InvalidURL", _NOT_DONE, "the address is none"),
    Row("aiohttp.NonHttpUrlClientError", _NOT_DONE, "the address is none of HTTP"),
    Row("aiohttp.ServerTimeoutError", _UNKNOWN, "sent, and not answered in time"),
    Row("aiohttp.ServerDisconnectedError", _UNKNOWN, "the connection was closed without answer"),
    Row("aiohttp.ClientOSError", _UNKNOWN, "the connection was cut"),
    Row("aiohttp.ClientPayloadError", _UNKNOWN, "the answer was cut off"),
    Row("aiohttp.TooManyRedirects", _UNKNOWN, "what is redirected may have been done"),
    Row(
        "aiohttp.HttpProcessingError",
        _UNKNOWN,
        "the answer was not HTTP; aiohttp puts a status 400 of its own around it",
    ),
    Row("aiohttp.ClientResponseError", Reading.STATUS, "the other side answered"),
)

STRIPE = (
    Row(
        "stripe.APIConnectionError",
        Reading.INSIDE,
        "wraps the last error; the SDK may have tried twice before",
        repeats=True,
    ),
    Row(
        "stripe.IdempotencyError",
        _UNKNOWN,
        "the key was used with other parameters, and that request may have been done",
    ),
    Row("stripe.RateLimitError", _NOT_DONE, "too many requests", repeats=True),
    Row("stripe.StripeError", Reading.STATUS, "the other side answered", repeats=True),
)

BOTOCORE = (
    Row("botocore.EndpointConnectionError", _NOT_DONE, "no connection", repeats=True),
    Row("botocore.ConnectTimeoutError", _NOT_DONE, "no connection in time", repeats=True),
    Row("botocore.ProxyConnectionError", _NOT_DONE, "the proxy did not connect us", repeats=True),
    Row("botocore.SSLError", Reading.INSIDE, "wraps an error of TLS", repeats=True),
    Row("botocore.NoCredentialsError", _NOT_DONE, "there was nothing to sign the request with"),
    Row("botocore.ParamValidationError", _NOT_DONE, "botocore itself rejected the parameters"),
    Row("botocore.HTTPClientError", _UNKNOWN, "the answer was late, or cut off"),
    Row("botocore.ResponseParserError", _UNKNOWN, "there was an answer that cannot be read"),
    Row("botocore.ClientError", Reading.STATUS, "the other side answered", repeats=True),
)

MAIL = (
    Row("smtplib.SMTPAuthenticationError", _NOT_DONE, "our credentials were not accepted"),
    Row(
        "smtplib.SMTPNotSupportedError", _NOT_DONE, "the server cannot do what we would have asked"
    ),
    Row("smtplib.SMTPConnectError", Reading.REPLY, "the reply to our connection"),
    Row("smtplib.SMTPHeloError", Reading.REPLY, "the reply to HELO or EHLO"),
    Row("smtplib.SMTPSenderRefused", Reading.REPLY, "the reply to MAIL"),
    Row("smtplib.SMTPRecipientsRefused", Reading.REPLY, "the replies to RCPT: all said no"),
    Row("smtplib.SMTPDataError", Reading.REPLY, "the reply to DATA, or to the message"),
    Row("smtplib.SMTPServerDisconnected", _UNKNOWN, "at the message or after it"),
    Row("smtplib.SMTPException", _UNKNOWN, "QUIT after an accepted message raises it too"),
    Row("aiosmtplib.SMTPConnectResponseError", Reading.REPLY, "the reply to our connection"),
    Row("aiosmtplib.SMTPConnectError", _NOT_DONE, "no connection: refused, name, or TLS"),
    Row("aiosmtplib.SMTPConnectTimeoutError", _NOT_DONE, "no connection in time"),
    Row("aiosmtplib.SMTPAuthenticationError", _NOT_DONE, "our credentials were not accepted"),
    Row("aiosmtplib.SMTPNotSupported", _NOT_DONE, "the server cannot do what we would have asked"),
    Row("aiosmtplib.SMTPHeloError", Reading.REPLY, "the reply to HELO or EHLO"),
    Row("aiosmtplib.SMTPSenderRefused", Reading.REPLY, "the reply to MAIL"),
    Row("aiosmtplib.SMTPRecipientRefused", Reading.REPLY, "the reply to RCPT"),
    Row("aiosmtplib.SMTPRecipientsRefused", Reading.REPLY, "the replies to RCPT: all said no"),
    Row("aiosmtplib.SMTPDataError", Reading.REPLY, "the reply to DATA, or to the message"),
    Row("aiosmtplib.SMTPServerDisconnected", _UNKNOWN, "at the message or after it"),
    Row("aiosmtplib.SMTPTimeoutError", _UNKNOWN, "at the message or after it"),
    Row("aiosmtplib.SMTPException", _UNKNOWN, "QUIT after an accepted message raises it too"),
)

DATABASES = (
    Row("psycopg.ConnectionTimeout", _NOT_DONE, "no connection in time"),
    Row("psycopg_pool.PoolTimeout", _NOT_DONE, "no connection of the pool was free in time"),
    Row(
        "psycopg.Error",
        Reading.SQLSTATE,
        "the server's word; without one the connection was lost, perhaps during COMMIT",
    ),
)

CLASSES: Mapping[str, tuple[Row, ...]] = {
    "Python itself: urllib, http.client, socket, ssl, asyncio": PYTHON,
    "httpx": _httpx("httpx"),
    "httpx2": _httpx("httpx2"),
    "requests and urllib3": REQUESTS,
    "aiohttp": AIOHTTP,
    "stripe": STRIPE,
    "botocore": BOTOCORE,
    "smtplib and aiosmtplib": MAIL,
    "psycopg": DATABASES,
}

ROWS: Mapping[str, Row] = {row.name: row for rows in CLASSES.values() for row in rows}

# ── functions that an exception came out of ─────────────────────────────────────────────────────


def _phases(client: str, phases: str) -> tuple[Row, ...]:
    because = "before the message"
    return tuple(Row(f"{client}.{phase}", _NOT_DONE, because) for phase in phases.split())


PLACES: Mapping[str, Row] = {
    row.name: row
    for row in (
        Row("socket.create_connection", _NOT_DONE, "no connection was made"),
        Row("ssl.SSLSocket.do_handshake", _NOT_DONE, "before we sent anything"),
        Row("asyncio.BaseEventLoop.create_connection", _NOT_DONE, "no connection was made"),
        Row("psycopg.Connection.connect", _NOT_DONE, "no connection was made"),
        Row("psycopg.AsyncConnection.connect", _NOT_DONE, "no connection was made"),
        *_phases("smtplib.SMTP", "connect ehlo helo starttls login mail rcpt"),
        *_phases("aiosmtplib.SMTP", "connect ehlo helo starttls login mail rcpt"),
    )
}
