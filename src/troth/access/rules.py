"""Decisions over data: addresses, tokens, keys, scopes, where a request comes from. No I/O."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from troth.access.model import Limit, Ref
from troth.base.errors import UsageError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1
_LONGEST_ADDRESS = 254  # RFC 5321, 4.5.3.1.3: a path of 256 octets with its brackets


# Addresses and passwords ----------------------------------------------------------------------------------------------


def normal_email(email: str) -> str:
    """The form in which an address is kept and compared. Raises `UsageError` for what cannot be one.

    Case is ignored on both sides of the @: RFC 5321 would let the left side differ by case, and nobody uses that.
    """
    normal = unicodedata.normalize("NFKC", email).strip().lower()
    name, _, domain = normal.rpartition("@")
    odd = any(c.isspace() or not c.isprintable() for c in normal) or "@" in name
    if not name or not domain or odd or len(normal.encode()) > _LONGEST_ADDRESS:
        msg = "this is not an email address: it needs one @ with something on both sides, and no spaces"
        raise UsageError(msg)
    return normal


def normal_password(password: str) -> bytes:
    """The same password from every keyboard (NIST SP 800-63B-4, 3.1.1.2: normalise before hashing)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


# Secrets --------------------------------------------------------------------------------------------------------------


def new_token() -> str:
    """A session token: 256 random bits."""
    return secrets.token_urlsafe(32)


def hashed(secret: str) -> bytes:
    """What is kept of a random secret.

    SHA-256 is enough: a slow hash protects what can be guessed, and nobody guesses 256 random bits.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def same(one: bytes, other: bytes) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)


def new_key() -> tuple[str, str]:
    """(prefix, secret) of an API key: 60 bits that name it, 256 that prove it."""
    prefix = base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]
    secret = base64.b32encode(secrets.token_bytes(32)).decode().lower().rstrip("=")
    return prefix, secret


def written_key(prefix: str, secret: str) -> str:
    """The key as its owner gets it; `troth_` is for scanners of leaked secrets."""
    return f"troth_{prefix}_{secret}"


def read_key(key: str) -> tuple[str, str] | None:
    """(prefix, secret) of a key; None if it is not written like one."""
    parts = key.split("_")
    if len(parts) != 3 or parts[0] != "troth" or len(parts[1]) != 12 or not parts[1].isalnum():
        return None
    return parts[1], parts[2]


def throttle_keys(email: str, client: str) -> tuple[bytes, bytes, bytes]:
    """What is counted: the address, the client, and both together. NUL separates: no address has one."""
    return (
        hashed(f"address\0{email}"),
        hashed(f"client\0{client}"),
        hashed(f"pair\0{email}\0{client}"),
    )


def pause_s(limit: Limit, failures: float) -> float:
    """How long nobody may try after so many failures, in seconds. `begin_login` computes the same, under its locks."""
    counted = math.ceil(failures)  # one that has begun to leak away counts until it has
    if counted < limit.free:
        return 0.0
    doubled = limit.first.total_seconds() * 2.0 ** min(counted - limit.free, 60)
    return min(limit.cap.total_seconds(), doubled)


# Scopes ---------------------------------------------------------------------------------------------------------------


def check_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """Scopes that can be: an action, `Plan::*` for all that begin so, or `*`. Raises `UsageError`."""
    for scope in scopes:
        if (
            not scope
            or "*" in scope.removesuffix("*")
            or (scope != "*" and scope.endswith("*") and not scope.endswith("::*"))
        ):
            msg = f"{scope!r} is not a scope: write an action (Plan::change), Plan::* or *"
            raise UsageError(msg)
    return tuple(sorted(set(scopes)))


def in_scope(scopes: Sequence[str], action: str) -> bool:
    """May a key with these scopes be used for *action*?"""
    return any(
        scope in {"*", action} or (scope.endswith("::*") and action.startswith(scope[:-1]))
        for scope in scopes
    )


# Requests of browsers -------------------------------------------------------------------------------------------------


def same_origin(
    method: str, headers: Mapping[str, str], allowed_origins: Collection[str] = ()
) -> bool:
    """May a request that a cookie authenticates be trusted to come from our own pages?

    Safe methods (RFC 9110, 9.2.1) always: they must not change anything. Others by `Sec-Fetch-Site` (W3C Fetch
    Metadata), which no page can forge: `same-origin` and `none` (the person typed it). Otherwise `Origin` (RFC 6454)
    must be one of *allowed_origins*, written like `https://shop.example`. With neither header the answer is no: every
    browser of today sends one, and a program can use an API key. `Origin: null` is nobody's.
    """
    if method.upper() in SAFE_METHODS:
        return True
    named = {name.lower(): value.strip() for name, value in headers.items()}
    origin = named.get("origin")
    if origin not in {None, "null"} and origin in allowed_origins:
        return True
    return named.get("sec-fetch-site") in {"same-origin", "none"}


def session_cookie(token: str, max_age_s: int, *, name: str = "session") -> str:
    """The value of a `Set-Cookie` header. `__Host-` (RFC 6265bis, 4.1.3.2) keeps subdomains from setting it."""
    return f"__Host-{name}={token}; Path=/; Max-Age={max_age_s}; Secure; HttpOnly; SameSite=Lax"


def forgotten_cookie(*, name: str = "session") -> str:
    """The `Set-Cookie` header that removes it."""
    return session_cookie("", 0, name=name)


# Values for Cedar -----------------------------------------------------------------------------------------------------


def cedar_value(value: Any, where: str, namespace: str = "") -> Any:  # noqa: PLR0911  (one for each type)
    """*value* as Cedar's JSON. Raises `UsageError` for what Cedar does not have: it has no floats and no null."""
    match value:
        case bool() | int() | str():
            return str(value) if isinstance(value, str) else value
        case Ref():
            return {"__entity": {"type": qualified(value.type, namespace), "id": value.id}}
        case UUID():
            return str(value)
        case Decimal():
            return {"__extn": {"fn": "decimal", "arg": _decimal(value, where)}}
        case datetime():
            return {"__extn": {"fn": "datetime", "arg": _moment(value, where)}}
        case list() | tuple() | set() | frozenset():
            items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
            return [cedar_value(item, where, namespace) for item in items]
        case Mapping():
            return cedar_record(value, where, namespace)
        case _:
            msg = f"{where}: Cedar has no {type(value).__name__}; use str, int, bool, Ref, Decimal, datetime, lists, dicts"
            raise UsageError(msg)


def cedar_record(values: Mapping[str, Any], where: str, namespace: str = "") -> dict[str, Any]:
    """A record as Cedar's JSON, without what is None. Keys with `__` would be read as escapes, so strangers' are refused."""
    made = {}
    for name, value in values.items():
        if name.startswith("__"):
            msg = f"{where}: {name!r} cannot be the name of an attribute: Cedar's JSON gives __ a meaning"
            raise UsageError(msg)
        if value is not None:
            made[name] = cedar_value(value, f"{where}.{name}", namespace)
    return made


def qualified(kind: str, namespace: str) -> str:
    """A type with its namespace."""
    return kind if "::" in kind or not namespace else f"{namespace}::{kind}"


def _decimal(value: Decimal, where: str) -> str:
    if not value.is_finite() or value != round(value, 4):
        msg = f"{where}: Cedar's decimals have four digits after the point, {value} has more"
        raise UsageError(msg)
    return f"{value:.4f}"


def _moment(value: datetime, where: str) -> str:
    if value.tzinfo is None:
        msg = f"{where}: a time without a zone could be any; use an aware datetime"
        raise UsageError(msg)
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
