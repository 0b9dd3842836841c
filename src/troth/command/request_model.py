"""The words of idempotent requests: what was sent, what was answered, what a route allows. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from troth.base.errors import TrothError

Isolation = Literal["read committed", "repeatable read", "serializable"]
Headers = tuple[tuple[str, str], ...]

DAY = timedelta(days=1)
MEGABYTE = 1024 * 1024


class RequestRefusedError(TrothError):
    """The request is answered without its handler. *status* (HTTP) and *code* say why, *more* goes into the body."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Headers = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.more = dict(more or {})


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it came. *caller* is the principal, *route* the pattern that its path matched."""

    caller: str
    method: str
    route: str
    path: str
    query: str
    content_type: str
    body: bytes
    key: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for a route. Sizes in bytes.

    *required*: without a key it is refused. *lifetime*: how long a key is remembered. *fingerprint*: makes of a `Sent` the
    JSON value that must be the same in a retry, in place of the body. *exempt*: the route is left alone.
    """

    required: bool = True
    lifetime: timedelta = DAY
    fingerprint: Callable[[Sent], Any] | None = None
    max_body: int = MEGABYTE
    max_response: int = MEGABYTE
    exempt: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response, whole. Header names in lower case."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Operation:
    """The answer will be what becomes of a run. *wait_s*: how long its first caller is kept waiting for that."""

    run_id: UUID
    wait_s: float = 0.0
    render: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is recorded of a key: digests of what was sent, and the answer or the run that it is about."""

    salt: bytes
    parts: Mapping[str, str]
    answer: Answer | None
    operation: Operation | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a run has come to. *reason*: why it needs attention; *outcome*: JSON, once it has ended."""

    state: str
    reason: str | None = None
    outcome: bytes | None = None


class Fate(Enum):
    """What becomes of the transaction of a request whose handler has answered."""

    KEEP = "the work and the answer are committed"
    REFUSAL = "the answer is committed without the work"
    FORGET = "nothing is committed, and the key is free"


@dataclass(frozen=True, slots=True)
class Record:
    """The row of a request. *answer* is None while only its run is known."""

    id: bytes
    name: str
    sent: Sent
    salt: bytes
    parts: Mapping[str, str] = field(repr=False)
    lifetime_s: float
    answer: Answer | None
    operation: Operation | None
