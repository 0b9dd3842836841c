"""How deliveries are signed, and where their events say what they are. Pure: bytes in, facts or an error out.

Signatures are verified on the raw bytes, before anything is parsed, and compared in constant time. All secrets that are
in use are tried, so that one can be replaced while deliveries signed with the old one are still on their way.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from troth.base import codec
from troth.base.errors import UsageError
from troth.inbox.model import (
    MalformedEventError,
    MalformedSignatureError,
    SignatureMismatchError,
    StaleSignatureError,
)

_DIGITS: Final = re.compile(
    r"[0-9]{1,11}"
)  # seconds since 1970; int() takes other scripts' digits, too
_MOST_SIGNATURES: Final = 20  # of one delivery: each costs an HMAC per secret
_NAME_LIMIT: Final = 255
_DATES: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that fits. *secret*: the fingerprint of the secret. *event_id*: if the signed headers name it."""

    secret: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What an event says of itself. *created*: None if it does not say. *digest*: the same for the same content."""

    id: str
    type: str
    object_key: str | None
    created: datetime | None
    digest: bytes


class Scheme(Protocol):
    """How one kind of provider signs and words its deliveries. Write your own for another one."""

    @property
    def kept_headers(self) -> Sequence[str]:
        """Headers to keep with the event, in lower case."""

    def verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> Verified:
        """Check the signature of the raw body; header names are in lower case. Raises a `RefusedDeliveryError`."""

    def read(self, body: bytes, event_id: str | None) -> Content:
        """What the body says; *event_id* if it is known already. Raises `MalformedEventError`."""


@dataclass(frozen=True, slots=True)
class StripeSignatures:
    """Stripe's scheme: `Stripe-Signature: t=…,v1=…`, the hex HMAC-SHA256 of `t.body`.

    *secrets*: of the endpoint, all that are in use. *tolerance*: how old a signature may be, or how far in the future.
    Source: docs.stripe.com/webhooks, "Verify webhook signatures manually". The object is `data.object.id` of a snapshot
    event, `related_object.id` of a thin one.
    """

    secrets: Sequence[str]
    tolerance: timedelta = timedelta(minutes=5)

    kept_headers = ("stripe-signature", "user-agent")

    def __post_init__(self) -> None:
        """Raise `UsageError` for secrets that protect nothing."""
        _check_secrets(self.secrets)

    def verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> Verified:
        """See `Scheme`."""
        header = headers.get("stripe-signature")
        if header is None:
            raise MalformedSignatureError("there is no header Stripe-Signature")
        parts = [part.strip().partition("=") for part in header.split(",")]
        times = [value for name, _, value in parts if name == "t"]
        given = [value for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not _DIGITS.fullmatch(times[0]) or not given:
            raise MalformedSignatureError("Stripe-Signature is not t=SECONDS,v1=SIGNATURE")
        if len(given) > _MOST_SIGNATURES:
            raise MalformedSignatureError(
                f"Stripe-Signature has more than {_MOST_SIGNATURES} signatures"
            )
        for secret in self.secrets:
            right = hmac.new(secret.encode(), times[0].encode() + b"." + body, hashlib.sha256)
            if _is_among(right.hexdigest(), given):
                _check_time(int(times[0]), now_s, self.tolerance)
                return Verified(_fingerprint(secret))
        raise SignatureMismatchError("no v1 signature of Stripe-Signature fits a secret")

    def read(self, body: bytes, event_id: str | None) -> Content:
        """See `Scheme`."""
        payload = _json(body)
        found = event_id or _name(payload.get("id"), "id")
        about = _inside(payload, "data", "object", "id") or _inside(payload, "related_object", "id")
        # How many endpoints have not got it yet: it changes from one delivery to the next.
        said = {key: value for key, value in payload.items() if key != "pending_webhooks"}
        kind = _name(payload.get("type"), "type")
        return Content(found, kind, about, _moment(payload.get("created")), _digest(said))


@dataclass(frozen=True, slots=True)
class StandardWebhooks:
    """Standard Webhooks 1.0.0 (`webhook-id`, `webhook-timestamp`, `webhook-signature`), verified by its own library.

    *secrets*: `whsec_…`, all that are in use. *tolerance*: at most five minutes, which the library allows. The type,
    time and object are `type`, `timestamp` and `data.id` of the payload. Needs the extra `webhooks`.
    """

    secrets: Sequence[str]
    tolerance: timedelta = timedelta(minutes=5)

    kept_headers = ("webhook-id", "webhook-timestamp", "webhook-signature", "user-agent")

    def __post_init__(self) -> None:
        """Raise `UsageError` for secrets or a tolerance that cannot be."""
        _check_secrets(self.secrets)
        if self.tolerance > timedelta(minutes=5):
            raise UsageError("StandardWebhooks: the tolerance is at most 5 minutes")
        library = _library()
        for secret in self.secrets:
            try:
                library.Webhook(secret)
            except (ValueError, library.EmptyWebhookSecretError) as error:
                msg = f"StandardWebhooks: a secret is not whsec_ and base64 ({error})"
                raise UsageError(msg) from None

    def verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> Verified:
        """See `Scheme`."""
        needed = ("webhook-id", "webhook-timestamp", "webhook-signature")
        if missing := [name for name in needed if not headers.get(name)]:
            raise MalformedSignatureError(f"there is no header {missing[0]}")
        stamp = headers["webhook-timestamp"]
        if not _DIGITS.fullmatch(stamp):
            raise MalformedSignatureError("webhook-timestamp is not a number of seconds")
        signatures = headers["webhook-signature"].split(" ")
        usable = [each for each in signatures if re.fullmatch(r"v1,[A-Za-z0-9+/=]+", each)]
        if not usable or len(signatures) > _MOST_SIGNATURES:
            raise MalformedSignatureError("webhook-signature has no v1 signature")
        _check_time(int(stamp), now_s, self.tolerance)
        event_id = _name(headers["webhook-id"], "webhook-id")
        given = {name: headers[name] for name in needed} | {"webhook-signature": " ".join(usable)}
        for secret in self.secrets:
            try:
                _library().Webhook(secret).verify(body, given, json_parse=False)
            except Exception:  # noqa: BLE001, S112  (it lets errors of base64 and UTF-8 through)
                continue
            return Verified(_fingerprint(secret), event_id)
        raise SignatureMismatchError("no v1 signature of webhook-signature fits a secret")

    def read(self, body: bytes, event_id: str | None) -> Content:
        """See `Scheme`."""
        payload = _json(body)
        if event_id is None:
            raise MalformedEventError("the id of an event is in its header webhook-id")
        return Content(
            _name(event_id, "webhook-id"),
            _name(payload.get("type"), "type"),
            _inside(payload, "data", "id"),
            _moment(payload.get("timestamp")),
            _digest(payload),
        )


def _library() -> Any:
    try:
        import standardwebhooks.webhooks as library
    except ImportError:
        msg = "StandardWebhooks needs the package standardwebhooks: pip install 'troth[webhooks]'"
        raise UsageError(msg) from None
    return library


def _is_among(right: str, given: Sequence[str]) -> bool:
    """Whether one of the signatures is right, in a time that does not tell how much of it is."""
    found = [hmac.compare_digest(right.encode(), each.encode()) for each in given]
    return any(found)


def _check_time(signed_s: int, now_s: float, tolerance: timedelta) -> None:
    late_s = now_s - signed_s
    if abs(late_s) > tolerance.total_seconds():
        when = "ago" if late_s > 0 else "in the future"
        msg = f"it was signed {abs(late_s):.0f} s {when}: more than {tolerance.total_seconds():.0f} s is not accepted"
        raise StaleSignatureError(msg)


def _check_secrets(secrets: Sequence[str]) -> None:
    if isinstance(secrets, str) or not secrets or any(not secret.strip() for secret in secrets):
        raise UsageError("secrets is a list of one or more secrets, none of them empty")


def _fingerprint(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def _json(body: bytes) -> dict[str, Any]:
    try:
        payload = codec.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
        raise MalformedEventError(f"the body is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise MalformedEventError("the body is not a JSON object")
    return payload


def _digest(payload: dict[str, Any]) -> bytes:
    return codec.digest(codec.encode(payload))


def is_storable(text: object) -> bool:
    """Whether it can name something in the database."""
    if not isinstance(text, str) or not 0 < len(text) <= _NAME_LIMIT or "\0" in text:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _name(value: object, what: str) -> str:
    if not is_storable(value):
        raise MalformedEventError(f"its {what} is not a text of 1 to {_NAME_LIMIT} characters")
    assert isinstance(value, str)
    return value


def _inside(payload: dict[str, Any], *path: str) -> str | None:
    """The text at a path, if there is one."""
    found: object = payload
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) and is_storable(found) else None


def _moment(value: object) -> datetime | None:
    """A time that is written as seconds since 1970 or as in RFC 3339."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value, UTC)
        elif isinstance(value, str):
            found = datetime.fromisoformat(value)
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
        else:
            return None
        return found if _DATES[0] <= found <= _DATES[1] else None
    except (ValueError, OverflowError, OSError):
        return None
