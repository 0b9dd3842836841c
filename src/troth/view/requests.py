"""What was asked under idempotency keys, and what was answered.

The row of a request is its first answer. How often a key came again, and with what else, is not recorded: a retry reads
the answer and writes nothing, and a request that does not fit is refused before it can. Both are counted by telemetry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.base.errors import UsageError
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.blobs import blob_of, require_one_of
from troth.view.filters import Criteria, Since
from troth.view.paging import (
    PAGE_ROWS,
    PAYLOAD_LIMIT,
    SCAN_LIMIT,
    Blob,
    Page,
    blob,
    cursor,
    later,
    position,
    rows_of,
    scanned_page,
)

REQUEST_PAYLOADS = ("headers", "body")
_ID = re.compile(r"[0-9a-f]{16,128}")


@dataclass(frozen=True, slots=True)
class RequestFilter(Criteria):
    """Which requests to list. *unanswered*: those whose run has not been answered for. *status*: of the answer (HTTP)."""

    key: str | None = None
    name: str | None = None
    caller: str | None = None
    method: str | None = None
    route: str | None = None
    status: int | None = None
    unanswered: bool = False
    since: Since = Since()  # noqa: RUF009  (frozen)


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request. *id*: its record, in hexadecimal. *status*: None until its run has been answered for.

    *run*: the operation that the answer is about, and *run_state* how that stands, if it is still known. *age_s* and
    *left_s*: seconds since it was answered, and until the key is forgotten (negative: it may be, at any time). *size*: of
    the answer's body, in bytes.
    """

    id: str
    name: str
    caller: str
    method: str
    route: str
    key: str | None
    status: int | None
    run: UUID | None
    run_state: str | None
    at: datetime
    age_s: float
    expires_at: datetime
    left_s: float
    size: int | None


@dataclass(frozen=True, slots=True)
class RequestStory:
    """All that is recorded of a request. *parts*: the names of what must be the same in a retry; of values, only digests
    are kept. *headers* and *body*: of the answer; their data only if payloads were asked for.
    """

    line: RequestLine
    parts: tuple[str, ...]
    headers: Blob | None
    body: Blob | None


class RequestNotFoundError(UsageError):
    """No request is recorded under this id: there was none, or it has expired and is forgotten."""


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "requests.sql")


async def requests(
    tx: Tx,
    schema: str,
    which: RequestFilter = RequestFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[RequestLine]:
    """A page of requests, the latest first. Raises `UsageError` for a wrong *after* or *limit*."""
    at, last = position(after, datetime, str)
    params: dict[str, Any] = {
        "at": at,
        "id": None if last is None else _raw(last),
        "key": which.key,
        "name": which.name,
        "caller": which.caller,
        "method": which.method and which.method.upper(),
        "route": which.route,
        "status": which.status,
        "unanswered": which.unanswered,
        "since": which.since.at(),
        "limit": rows_of(limit),
        "scan": SCAN_LIMIT,
    }
    if which.key is not None:
        rows = await (await tx.execute(queries(schema).of_key, params)).fetchall()
        found = [RequestLine(*row) for row in rows]
        return Page(tuple(found), _after(found[-1]) if len(found) == limit else None)
    rows = await (await tx.execute(queries(schema).lines, params)).fetchall()
    if not rows:
        return Page(())
    looked_at, last_at, last_id = rows[0][:3]
    found = [RequestLine(*row[3:]) for row in rows if row[3] is not None]
    return scanned_page(
        found,
        limit,
        looked_at,
        SCAN_LIMIT,
        _after(found[-1]) if found else None,
        cursor(later(last_at), bytes(last_id).hex()),
    )


async def request(tx: Tx, schema: str, request_id: str, *, payloads: bool = False) -> RequestStory:
    """One request. Raises `RequestNotFoundError`."""
    row: Sequence[Any] | None = None
    if _is_id(request_id):
        params = {"id": request_id, "payloads": payloads, "most": PAYLOAD_LIMIT}
        row = await (await tx.execute(queries(schema).one, params)).fetchone()
    if row is None:
        msg = (
            f"no request {request_id} is recorded in the schema {schema}: its key may have expired"
        )
        raise RequestNotFoundError(msg)
    parts, header_size, headers, body = row[14:]
    line = RequestLine(*row[:14])
    return RequestStory(
        line,
        tuple(sorted(codec.decode(bytes(parts)))),
        blob(header_size, headers),
        blob(line.size, body),
    )


async def payload(
    tx: Tx, schema: str, request_id: str, what: str, limit: int = PAYLOAD_LIMIT
) -> Blob:
    """The first *limit* bytes of the answer's *what*: headers or body. Raises `UsageError` if there are none."""
    require_one_of(what, REQUEST_PAYLOADS, "a request")
    if not _is_id(request_id):
        raise RequestNotFoundError(f"{request_id!r} is not the id of a request")
    params = {"id": request_id, "what": what, "limit": limit}
    found = await blob_of(tx, queries(schema).payload, params)
    if found is None:
        raise RequestNotFoundError(f"request {request_id} has no {what}, or is forgotten")
    return found


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None and len(text) % 2 == 0


def _after(line: RequestLine) -> str:
    return cursor(later(line.at), line.id)


def _raw(request_id: str) -> bytes:
    try:
        return bytes.fromhex(request_id)
    except ValueError:
        raise UsageError("this is not where a page of requests ended") from None
