"""What is hidden until somebody asks for it: which things have payloads, and how one of them is read and redacted.

A form names the payload: `in` what it is kept (a word of `HOLDERS`; without it, a run), which one that is, and `of` it
which payload. To add a kind of thing: a `Holder` here, and a link with `m.held(…)` in a template.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

from troth.base import codec
from troth.base.errors import UsageError
from troth.console.deed import Given, Place, to_run
from troth.console.model import Payload, TooLargeError
from troth.store.tx import Tx
from troth.view import decisions, inbox, machines, outbox, requests, run, store
from troth.view.blobs import require_one_of
from troth.view.paging import PAYLOAD_LIMIT, Blob
from troth.view.run import What

if TYPE_CHECKING:
    from troth.console.site import Site

MOST_DOWNLOAD: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Holder:
    """A kind of thing that has payloads.

    *of*: its word in records. *names*: what a form says to name a payload of one, besides `in`, `of` and `run`. *about*: which one;
    *path*: which of its payloads, for the record; both raise `UsageError` for what cannot be. *read*: the first so many
    bytes of one; raises `UsageError` if there are none. *page*: where it is shown.
    """

    of: str
    names: tuple[str, ...]
    about: Callable[[Given], str]
    path: Callable[[Given], str]
    read: Callable[[Tx, str, Given, int], Awaitable[Blob]]
    page: Callable[[Given], Place]


# Each kind ------------------------------------------------------------------------------------------------------------

_OF_RUN: Final[Mapping[str, What]] = MappingProxyType({each: each for each in get_args(What)})


def _of_run(given: Given) -> What:
    wanted = given.needed("of")
    found = _OF_RUN.get(wanted)
    if found is None:
        raise UsageError(f"a run has no {wanted!r} to show: it has {', '.join(_OF_RUN)}")
    return found


def _run_path(given: Given) -> str:
    what = _of_run(given)
    match what:
        case "entry":
            return f"{given.needed('path')} (kind {given.number('kind')}, attempt {given.number('attempt')})"
        case "message":
            return f"message {given.id('message')}"
        case _:
            return what


async def _read_run(tx: Tx, schema: str, given: Given, limit: int) -> Blob:
    what = _of_run(given)
    more: dict[str, Any] = {}
    if what == "entry":
        more = {
            "path": given.needed("path"),
            "kind": given.number("kind"),
            "attempt": given.number("attempt"),
        }
    elif what == "message":
        more = {"message": given.id("message")}
    return await run.payload(tx, schema, given.id("run"), what, limit=limit, **more)


async def _read_request(tx: Tx, schema: str, given: Given, limit: int) -> Blob:
    return await requests.payload(tx, schema, given.needed("id"), given.needed("of"), limit)


def _event_path(given: Given) -> str:
    digest = given.get("digest", "")[:16]
    return f"{given.needed('of')} {digest}".strip() + f", of {given.needed('source')}"


async def _read_event(tx: Tx, schema: str, given: Given, limit: int) -> Blob:
    return await inbox.payload(
        tx, schema, given.needed("source"), given.needed("event"), given.needed("of"),
        digest=given.get("digest", ""), limit=limit,
    )  # fmt: skip


def _message_path(given: Given) -> str:
    what = given.needed("of")
    if what != "answer":
        return what
    return f"answer to attempt {given.number('claim')} of delivery {given.number('delivery')}"


async def _read_message(tx: Tx, schema: str, given: Given, limit: int) -> Blob:
    of_attempt = {}
    if given.needed("of") == "answer":
        of_attempt = {"delivery": given.number("delivery"), "claim": given.number("claim")}
    return await outbox.payload(
        tx, schema, given.id("message"), given.needed("of"), limit=limit, **of_attempt
    )


def _object_path(given: Given) -> str:
    require_one_of(given.needed("of"), ("data",), "an object")
    return f"{given.needed('machine')}, entry {given.number('seq')}"


async def _read_object(tx: Tx, schema: str, given: Given, limit: int) -> Blob:
    machine, object_id = given.needed("machine"), given.needed("id")
    return await machines.payload(tx, schema, machine, object_id, given.number("seq"), limit)


def _decision_path(given: Given) -> str:
    require_one_of(given.needed("of"), ("inputs",), "a decision")
    return "inputs"


async def _read_decision(tx: Tx, schema: str, given: Given, limit: int) -> Blob:
    return await decisions.inputs(tx, schema, given.id("decision"), limit=limit)


HOLDERS: Final[Mapping[str, Holder]] = MappingProxyType(
    {
        "run": Holder(
            "run", ("path", "kind", "attempt", "message"), lambda given: str(given.id("run")), _run_path, _read_run,
            to_run,
        ),
        "request": Holder(
            "request", ("id",), lambda given: given.needed("id"), lambda given: given.needed("of"), _read_request,
            lambda given: (f"/requests/{given.get('id', '')}", {}),
        ),
        "event": Holder(
            "event", ("source", "event", "digest"), lambda given: given.needed("event"), _event_path, _read_event,
            lambda given: ("/inbox/event", {"source": given.text("source"), "event": given.text("event")}),
        ),
        "message": Holder(
            "message", ("message", "delivery", "claim"), lambda given: str(given.id("message")), _message_path,
            _read_message, lambda given: (f"/outbox/messages/{given.get('message', '')}", {}),
        ),
        "object": Holder(
            "object", ("machine", "id", "seq"), lambda given: given.needed("id"), _object_path, _read_object,
            lambda given: ("/machines/object", {"machine": given.text("machine"), "id": given.text("id")}),
        ),
        "decision": Holder(
            "decision", ("decision",), lambda given: str(given.id("decision")), _decision_path, _read_decision,
            lambda given: (f"/decisions/{given.get('decision', '')}", {}),
        ),
    }
)  # fmt: skip

# All that forms of payloads keep.
NAMES: Final = (
    "in", "of", *dict.fromkeys(name for holder in HOLDERS.values() for name in holder.names)
)  # fmt: skip


def holder_of(given: Given) -> Holder:
    """In what the payload is kept that a form names. Raises `UsageError`."""
    word = given.get("in", "run")
    if word not in HOLDERS:
        raise UsageError(f"nothing is kept in {word!r}: payloads are in {', '.join(HOLDERS)}")
    return HOLDERS[word]


def page_of(given: Given) -> Place:
    """Where the thing is shown whose payload a form names."""
    return HOLDERS.get(given.get("in", "run"), HOLDERS["run"]).page(given)


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """A payload, or its beginning. *workflow*: of the run that it is in."""

    blob: Blob
    workflow: str | None


async def beginning_of(tx: Tx, schema: str, given: Given, limit: int = PAYLOAD_LIMIT) -> Shown:
    """The first *limit* bytes of the payload that a form names. Raises `UsageError`."""
    holder = holder_of(given)
    found = await holder.read(tx, schema, given, limit)
    if holder.of != "run":
        return Shown(found, None)
    lines = await store.lines(tx, schema, [given.id("run")])
    return Shown(found, lines[0].workflow if lines else None)


def content(site: Site, given: Given, shown: Shown) -> bytes | None:
    """What is to be seen of it; None if it would have to be redacted and is not whole."""
    if site.redact is not None and shown.blob.cut:
        return None
    return _redacted(site, given, shown)


async def whole(tx: Tx, site: Site, given: Given) -> bytes:
    """All of a payload, redacted if this console redacts. Raises `TooLargeError`, and `UsageError`."""
    found = await beginning_of(tx, site.schema, given, MOST_DOWNLOAD)
    if found.blob.cut:
        msg = f"this has {found.blob.size:,} bytes, and the console gives out {MOST_DOWNLOAD:,}: read it with psql"
        raise TooLargeError(msg)
    return _redacted(site, given, found)


def _redacted(site: Site, given: Given, shown: Shown) -> bytes:
    data = shown.blob.data or b""
    if site.redact is None:
        return data
    holder = holder_of(given)
    run_id = given.id("run") if holder.of == "run" else None
    path = given.text("path") if holder.of == "run" else holder.path(given)
    about = holder.about(given)
    payload = Payload(
        run_id, shown.workflow, given.needed("of"), path, _value(data), holder.of, about
    )
    return codec.encode(site.redact(payload))


def _value(data: bytes) -> Any:
    """JSON, decoded; what other systems sent and is none, as text."""
    try:
        return codec.decode(data or b"null")
    except ValueError:
        return data.decode(errors="replace")
