"""Taking an event in: verified, and inserted once. One statement; it waits for no handler."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from troth.inbox import store
from troth.inbox.model import BodyTooLargeError, Event, FoundBy, Listed, MediaTypeError, State
from troth.inbox.schemes import Scheme, Verified, is_storable
from troth.store.plan import Plan

log = logging.getLogger("troth.inbox")

Headers = Mapping[str, str] | Iterable[tuple[bytes | str, bytes | str]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A delivery was genuine. *outcome*: it is new, known, or another content under a known id (kept, never applied).

    *state*: of the event that has the id. *status*: what to answer over HTTP; whoever sent it need not send it again.
    """

    source: str
    event_id: str
    outcome: Literal["new", "duplicate", "conflict"]
    state: State

    @property
    def status(self) -> int:
        """202 (accepted, to be applied later) or 200 (known)."""
        return 202 if self.outcome == "new" else 200


@dataclass(frozen=True, slots=True)
class Intake:
    """How an inbox reads what is delivered."""

    source: str
    scheme: Scheme
    object_key: Callable[[Event], str] | None
    version: Callable[[Event], int] | None
    max_body: int  # bytes


def plan(intake: Intake, schema: str, headers: Headers, body: bytes) -> Plan[Accepted]:
    """Verify and take in a delivery. Raises `RefusedDeliveryError` before there is any statement."""
    incoming = incoming_of(intake, headers, body, time.time())
    rows = yield store.accept(schema, incoming)
    outcome, stands = rows[0]
    if outcome == "conflict":
        log.warning(
            "%s: event %s came with another content than before; it is kept, and not applied",
            intake.source,
            incoming.event.id,
        )
    return Accepted(intake.source, incoming.event.id, outcome, State(stands))


def incoming_of(intake: Intake, headers: Headers, body: bytes, now_s: float) -> store.Incoming:
    """What a delivery brings, at the time *now_s* (seconds since 1970). Raises `RefusedDeliveryError`."""
    if len(body) > intake.max_body:
        raise BodyTooLargeError(f"the body has more than {intake.max_body} bytes")
    given = _in_lower_case(headers)
    verified = intake.scheme.verify(given, body, now_s)
    _require_json(given)
    kept = {name: given[name] for name in intake.scheme.kept_headers if name in given}
    return _read(intake, kept, body, now_s, verified, "webhook")


def listed(intake: Intake, event: Listed, now_s: float) -> store.Incoming:
    """What the provider's list brings: it was asked for, so nobody had to sign it. Raises `MalformedEventError`."""
    return _read(intake, {}, event.body, now_s, Verified("", event.id), "sweep", event)


def _read(
    intake: Intake,
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
    verified: Verified,
    found_by: FoundBy,
    said: Listed | None = None,
) -> store.Incoming:
    content = intake.scheme.read(body, verified.event_id)
    received = datetime.fromtimestamp(now_s, UTC)
    created = said.created if said else content.created
    event = Event(
        intake.source,
        content.id,
        said.type if said else content.type,
        content.object_key or content.id,
        created or received,
        None,
        body,
        headers,
        received,
        found_by,
    )
    key, version = _key(intake, event), _version(intake, event)
    return store.Incoming(event, key, created, version, verified.secret or None, content.digest)


def _key(intake: Intake, event: Event) -> str:
    """Its object. A genuine event of a shape that nobody thought of is kept, as an object of its own."""
    if intake.object_key is None:
        return event.object_key
    try:
        key = intake.object_key(event)
    except Exception as error:  # noqa: BLE001  (the user's function)
        log.warning(
            "%s: object_key fails for %s %s: %r", intake.source, event.type, event.id, error
        )
        return event.id
    return key if is_storable(key) else event.id


def _version(intake: Intake, event: Event) -> int | None:
    if intake.version is None:
        return None
    try:
        version = intake.version(event)
    except Exception as error:  # noqa: BLE001  (the user's function)
        log.warning("%s: version fails for %s %s: %r", intake.source, event.type, event.id, error)
        return None
    return version if abs(version) < 2**63 else None


def _require_json(headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise MediaTypeError("the content type is not JSON")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaTypeError("the body is encoded; signatures are made over plain bytes")


def _in_lower_case(headers: Headers) -> dict[str, str]:
    """Header names in lower case; values of a name that comes twice are joined (RFC 9110, section 5.2)."""
    found: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        key, text = _text(name).lower(), _text(value).replace("\0", "\ufffd")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _text(value: bytes | str) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text.encode(errors="replace").decode()
