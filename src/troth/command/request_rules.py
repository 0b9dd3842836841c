"""What a key may look like, what makes two requests the same, and what becomes of an answer. Pure.

The header is that of draft-ietf-httpapi-idempotency-key-header: a String of Structured Fields (RFC 9651, section 3.3.3),
in quotes. Most clients send it without, as Stripe's do; both are the same key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from troth.base import codec
from troth.command.request_model import Answer, Fate, Headers, RequestRefusedError, Sent

LONGEST_KEY = 255
MOST_PARTS = 256  # of which digests are kept; a request with more is described less finely
_LONGEST_PARTS = 16_384  # bytes of their names
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_PLAIN = re.compile(
    r"[\x21\x23-\x2b\x2d-\x7e]+"
)  # neither a quote nor a comma, which joins two headers
_ESCAPED = re.compile(r"\\(.)")
_SPECIAL = re.compile(r"([.\[\\])")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})
# A retry must ask anew: who the caller is, and whether it is too early, may have changed by then.
_PASSING = frozenset({401, 408, 425, 429})
# Of the connection (RFC 9110, 7.6.1), of this very answer, and a secret that must not lie in a table.
_NOT_KEPT = frozenset(
    {
        *(
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
        ),
        *("te", "trailer", "transfer-encoding", "upgrade"),
        *("date", "server", "set-cookie", "idempotent-replayed"),
    }
)

_decoder = msgspec.json.Decoder(float_hook=Decimal)


# The key ------------------------------------------------------------------------------------------------------------


def is_covered(method: str) -> bool:
    """Does this method change anything? All others pass untouched."""
    return method not in _SAFE


def parse_key(values: Sequence[str], *, required: bool) -> str | None:
    """The key in the values of all Idempotency-Key headers. Raises `RequestRefusedError` (400)."""
    if not values:
        if required:
            raise RequestRefusedError(
                400,
                "idempotency_key_missing",
                "This request needs an Idempotency-Key header: a fresh random value for each operation, and the same "
                "one for each retry of it.",
            )
        return None
    text = values[0].strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    key = _ESCAPED.sub(r"\1", quoted[1]) if quoted else text
    if len(values) > 1 or not (quoted or _PLAIN.fullmatch(text)) or not 0 < len(key) <= LONGEST_KEY:
        raise RequestRefusedError(
            400,
            "idempotency_key_malformed",
            f"Send one Idempotency-Key header of 1 to {LONGEST_KEY} printable ASCII characters, best a UUID in quotes.",
        )
    return key


def storable(text: str) -> str:
    """*text* without what PostgreSQL and UTF-8 have no place for; a path may hold anything."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def identity(name: str, sent: Sent) -> bytes:
    """The id of the record: who asks for what under which key."""
    return _digest(
        b"",
        *(part.encode() for part in (name, sent.caller, sent.method, sent.route, sent.key or "")),
    )


def lock_of(schema: str, request_id: bytes) -> int:
    """The advisory lock of a record: 64 bits, signed."""
    digest = hashlib.blake2b(schema.encode() + b"\0" + request_id, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


# What must be the same ------------------------------------------------------------------------------------------------


def parts_of(sent: Sent, salt: bytes, instead: Any = None) -> dict[str, str]:
    """Digests of all that makes up a request, by the name of the part: equal requests have equal parts.

    JSON and forms are taken apart; the order of names says nothing, the order of a list does. *instead*: a value that
    stands for the body. There are at most `MOST_PARTS`; a bigger request is taken apart less.
    """
    head = [("method", sent.method.encode()), ("path", sent.path.encode())]
    if sent.body:
        head.append(("content-type", sent.content_type.encode()))
    query = list(_form_parts("query", sent.query))
    for body in _ways_to_see(sent, instead):
        parts = [*head, *query, *body]
        if len(parts) <= MOST_PARTS and sum(len(name) for name, _ in parts) <= _LONGEST_PARTS:
            break
    else:
        body = [("body", _undivided(sent, instead))]
        parts = [*head, ("query", sent.query.encode()), *body]
    return {name: _digest(salt, name.encode(), value).hex() for name, value in parts}


def differences(first: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the parts in which two requests differ."""
    return sorted(name for name in first.keys() | now.keys() if first.get(name) != now.get(name))


def require_same(first: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise `RequestRefusedError` (422), which names what differs and no value, unless this is the first request again."""
    differ = differences(first, now)
    if differ:
        raise RequestRefusedError(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key was used with another request. Repeat the first one as it was, or use a new key.",
            more={"differs": differ},
        )


def _ways_to_see(sent: Sent, instead: Any) -> Iterator[list[tuple[str, bytes]]]:
    """The parts of the body, ever less finely."""
    if instead is None and sent.content_type == "application/x-www-form-urlencoded":
        yield list(_form_parts("body", sent.body.decode("latin-1")))
        return
    try:
        value = _json_of(sent, instead)
        yield list(_leaves("body", value))
        if isinstance(value, dict):
            yield [(_below("body", name), _undivided_json(each)) for name, each in value.items()]
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    yield [("body", _undivided(sent, instead))]


def _json_of(sent: Sent, instead: Any) -> Any:
    if instead is not None:
        return _decoder.decode(codec.encode(instead))
    kind = sent.content_type
    if kind != "application/json" and not kind.endswith("+json"):
        raise ValueError(kind)
    return _decoder.decode(sent.body)


def _undivided(sent: Sent, instead: Any) -> bytes:
    try:
        return _undivided_json(_json_of(sent, instead))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return sent.content_type.encode() + b"\0" + _without_boundary(sent)


def _without_boundary(sent: Sent) -> bytes:
    """A client makes a new boundary for every retry of a multipart request (RFC 2046, section 5.1.1)."""
    first = sent.body.partition(b"\r\n")[0]
    if sent.content_type.startswith("multipart/") and len(first) > 2 and first.startswith(b"--"):
        return sent.body.replace(first, b"--")
    return sent.body


def _undivided_json(value: Any) -> bytes:
    """Canonical: names sorted, numbers as they were written."""
    leaves = sorted(_leaves("", value))
    return b"".join(_framed(name.encode(), leaf) for name, leaf in leaves)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, bytes]]:
    match value:
        case dict() if value:
            for key, each in value.items():
                yield from _leaves(_below(name, key), each)
        case list() if value:
            for number, each in enumerate(value):
                yield from _leaves(f"{name}[{number}]", each)
        case str():
            yield name, b"text " + value.encode()
        case Decimal():
            yield name, b"number " + str(value).encode()
        case _:  # an integer, true, false, null, {} or []
            yield name, repr(value).encode()


def _below(name: str, key: str) -> str:
    return f"{name}." + _SPECIAL.sub(r"\\\1", key)


def _form_parts(name: str, text: str) -> Iterator[tuple[str, bytes]]:
    fields: dict[str, list[bytes]] = {}
    for key, value in parse_qsl(text, keep_blank_values=True, errors="backslashreplace"):
        fields.setdefault(key, []).append(value.encode())
    for key, values in fields.items():
        yield _below(name, key), _framed(*values)


def _framed(*values: bytes) -> bytes:
    return b"".join(b"%d:" % len(value) + value for value in values)


def _digest(salt: bytes, *values: bytes) -> bytes:
    return hashlib.blake2b(_framed(*values), key=salt, digest_size=16).digest()


# What becomes of an answer --------------------------------------------------------------------------------------------


def fate_of(status: int, *, touched: bool, keep: bool) -> Fate:
    """What becomes of the work and the answer.

    A server's error is not an answer. A refusal of the handler is, without what the handler did before it, unless it says
    *keep*. A refusal before the handler used its transaction (*touched*) is repeated as easily as it was made: the body
    did not fit, the caller is unknown, or comes too often. That is how Stripe tells them apart, too.
    """
    if status >= 500 or status in _PASSING:
        return Fate.FORGET
    if status < 400 or keep:
        return Fate.KEEP
    return Fate.REFUSAL if touched else Fate.FORGET


def kept_headers(headers: Headers) -> Headers:
    """Those of an answer that belong to what was answered."""
    return tuple((name, value) for name, value in headers if name.lower() not in _NOT_KEPT)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Headers = (),
    more: Mapping[str, Any] | None = None,
) -> Answer:
    """An error as RFC 9457 has it (`application/problem+json`); *code* is for programs, *detail* for people."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    said = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    return json_answer(status, said | dict(more or {}), headers, "application/problem+json")


def json_answer(
    status: int, value: Any, headers: Headers = (), kind: str = "application/json"
) -> Answer:
    """*value* as a response. Raises `PayloadError` if it cannot be JSON."""
    body = codec.encode(value)
    length = ("content-length", str(len(body)))
    return Answer(status, (("content-type", kind), length, *headers), body)


def refusal(error: RequestRefusedError) -> Answer:
    """How a refused request is answered."""
    return problem(error.status, error.code, error.detail, headers=error.headers, more=error.more)


def replayed(answer: Answer) -> Answer:
    """A stored answer, and the word that it is one."""
    return Answer(answer.status, (*answer.headers, ("idempotent-replayed", "true")), answer.body)
