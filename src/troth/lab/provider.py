"""Providers as pure state machines: classes of functions over plain data.

```python
class Bank(Provider):
    host = "api.bank.test"
    keys = Keys("Idempotency-Key", lifetime=timedelta(hours=24))

    @effect("POST /payouts")
    def create(self, s, req):
        return 201, s.add("payouts", amount=req.json["amount"])

    @read("GET /payouts")
    def find(self, s, req):
        return 200, s.all("payouts", **req.query)
```

The state is plain data and the code is pure, (state, request) -> (state, response). So hashing, restoring, lost answers and
deduplication by key come for free, and a provider that reads a clock or a global is a bug in the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qsl

import msgspec

from troth.lab import moments
from troth.lab.model import LabError, Observation, Op, Record
from troth.lab.queue import Message
from troth.lab.world import decode, encode

F = TypeVar("F", bound=Callable[..., tuple[int, object]])


class Keys(msgspec.Struct, frozen=True):
    """What a provider promises about idempotency keys.

    A request with a known key gets the first answer again. `scope`: a key is known per `"method+path"`, or for the
    whole `"account"`. `mismatch`: the status for a known key with other parameters. `caches`: which answers are kept,
    as statuses' classes. `lifetime`: after it the key may be forgotten, the oldest first; None: never.
    """

    header: str = "Idempotency-Key"
    lifetime: timedelta | None = None
    scope: str = "account"
    mismatch: int = 422
    caches: tuple[str, ...] = ("2xx", "4xx")


class Call(msgspec.Struct, frozen=True):
    """A request as a provider sees it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    match: dict[str, str]
    """The `{names}` of the route."""

    @property
    def json(self) -> Any:
        """The body, decoded from JSON."""
        return msgspec.json.decode(self.body or b"{}")

    @property
    def form(self) -> dict[str, str]:
        """The body, decoded from a form."""
        return dict(parse_qsl(self.body.decode()))


class Shelf:
    """A provider's state in the hands of its functions: collections of objects, by name, in order of appearance."""

    def __init__(self, data: dict[str, Any], *, emits: bool = False) -> None:
        self.data = data
        self._emits = emits

    def emit(self, kind: str, subject: dict[str, Any]) -> None:
        """Something has happened to an object: whoever listens (`lab.delivers(provider.events, …)`) is told, with the object as it is now."""
        if self._emits:
            event = self.add("events", prefix="evt", type=kind, data={"object": dict(subject)})
            self.data.setdefault("waiting", []).append(event["id"])

    def add(
        self, collection: str, *, prefix: str | None = None, **fields: object
    ) -> dict[str, Any]:
        """A new object with the next id of its collection, which is returned."""
        objects = self.data["objects"].setdefault(collection, [])
        number = self.data["counts"][collection] = self.data["counts"].get(collection, 0) + 1
        made = {"id": f"{prefix or collection}_{number}", **fields}
        objects.append(made)
        return made

    def all(self, collection: str, **equal: object) -> list[dict[str, Any]]:
        """The objects whose fields are equal to these."""
        return [
            one
            for one in self.data["objects"].get(collection, [])
            if all(one.get(field) == value for field, value in equal.items())
        ]

    def get(self, collection: str, number: str) -> dict[str, Any] | None:
        """The object with this id, to be read or changed."""
        return next(iter(self.all(collection, id=number)), None)

    def remove(self, collection: str, number: str) -> None:
        """Forget the object with this id."""
        kept = [one for one in self.data["objects"].get(collection, []) if one["id"] != number]
        self.data["objects"][collection] = kept


class _Route(msgspec.Struct, frozen=True):
    function: str
    method: str
    pattern: str
    reads_only: bool
    irreversible: bool
    late: bool
    within: float | None


def effect(
    route: str, *, irreversible: bool = True, lands_within: timedelta | None = None
) -> Callable[[F], F]:
    """Marks a function that changes the provider's state: it can be ambiguous, and lost.

    Args:
        route: method and path, with `{names}` for segments.
        irreversible: it cannot simply be taken back (money moved, a message went out).
        lands_within: how late it may still take effect after its caller gave up; zero: never. By default, and in any case,
            sooner than any key expires, but after any number of further attempts.
    """
    late = lands_within is None or bool(lands_within)
    within = None if lands_within is None else lands_within.total_seconds()
    return _route(route, reads_only=False, irreversible=irreversible, late=late, within=within)


def read(route: str, *, lag: bool = False) -> Callable[[F], F]:
    """Marks a function that only looks. `lag`: what was just written may be missing from it (not explored yet)."""
    if lag:
        raise LabError(f"{route}: a lagging read is not explored yet; declare it without lag=True")
    return _route(route, reads_only=True, irreversible=False, late=False)


def _route(
    route: str,
    *,
    reads_only: bool,
    irreversible: bool,
    late: bool,
    within: float | None = None,
) -> Callable[[F], F]:
    method, _, path = route.partition(" ")
    if not path.startswith("/"):
        raise LabError(f"a route is 'METHOD /path', not {route!r}")
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))

    def mark(function: F) -> F:
        function.__lab_route__ = (method.upper(), pattern, reads_only, irreversible, late, within)  # type: ignore[attr-defined]
        return function

    return mark


class Events(msgspec.Struct, frozen=True):
    """The events of a provider, as something that can be delivered."""

    provider: Provider


class Objects:
    """A provider's collections as promises see them; one that nothing was added to is empty."""

    def __init__(self, objects: dict[str, list[dict[str, Any]]]) -> None:
        self._objects = objects

    def __getattr__(self, collection: str) -> list[Record]:
        return [Record(one) for one in self._objects.get(collection, [])]


class Provider:
    """The base of provider models. `name` is what promises call it (default: the class's name in small letters)."""

    host: ClassVar[str]
    name: str = ""
    keys: ClassVar[Keys | None] = None
    version: ClassVar[str] = ""
    ordered: ClassVar[bool] = False
    """Whether events are delivered in the order in which they happened."""

    def __init__(self) -> None:
        self.emits = False
        """Whether somebody listens to its events."""
        self.name = self.name or type(self).__name__.lower()
        self._routes = tuple(
            _Route(name, *getattr(type(self), name).__lab_route__)
            for name in dir(type(self))
            if hasattr(getattr(type(self), name), "__lab_route__")
        )

    def start(self, s: Shelf) -> None:
        """What is there before anything happens; nothing by default."""

    def initial(self) -> bytes:
        """The first state."""
        shelf = Shelf({"objects": {}, "counts": {}, "keys": [], "aged": 0}, emits=self.emits)
        self.start(shelf)
        return encode(shelf.data)

    def view(self, part: bytes) -> Objects:
        """The state as promises see it."""
        return Objects(decode(part)["objects"])

    def describe(self) -> str:
        """The model in words, for the verdict."""
        version = f" {self.version}" if self.version else ""
        if self.keys is None:
            return f"{self.name}{version}: no idempotency keys"
        kept = f"kept for {self.keys.lifetime}" if self.keys.lifetime else "never forgotten"
        return f"{self.name}{version}: idempotency keys by {self.keys.scope}, {kept}"

    def knows(self, op: Op) -> bool:
        """Whether the model has this call."""
        return self._find(op) is not None

    def reads_only(self, op: Op) -> bool:
        """Whether the call cannot change anything here."""
        route = self._find(op)
        return route is None or route.reads_only

    def irreversible(self, op: Op) -> bool:
        """Whether the call, once done, cannot simply be taken back."""
        route = self._find(op)
        return route is not None and route.irreversible

    def lands_late(self, op: Op) -> bool:
        """Whether the call can still take effect after its caller gave up."""
        route = self._find(op)
        return route is not None and route.late

    def lands_within(self, op: Op) -> float | None:
        """Within how many seconds the call takes effect after its caller gave up; None: any number."""
        route = self._find(op)
        return None if route is None else route.within

    def expired(self, part: bytes, tick: int) -> bytes | None:
        """The state when the oldest key has been forgotten; None if there is none. `tick` is the latest that the world knows."""
        data = decode(part)
        if not data["keys"]:
            return None
        del data["keys"][0]
        data["aged"] = moments.instant(tick) if tick else 0
        return encode(data)

    def outlives(self, time: timedelta) -> bool:
        """Whether a key lives at least so long."""
        return (
            self.keys is not None and self.keys.lifetime is not None and time <= self.keys.lifetime
        )

    def aged_at(self, part: bytes) -> int:
        """The latest tick before the last expiry; 0 if there was none."""
        aged = decode(part)["aged"]
        return round((aged - moments.EPOCH) / moments.TICK) if aged else 0

    def perform(self, part: bytes, op: Op) -> tuple[bytes, Observation]:
        """The state and the answer after one request."""
        route, call = self._find(op), self._call(op)
        if route is None:
            raise LabError(f"the model of {self.name} has no {call.method} {call.path}")
        data = decode(part)
        known = self._known(data, call, route)
        if known is not None:
            return part, known
        shelf = Shelf(data, emits=self.emits)
        status, payload = getattr(self, route.function)(shelf, call)
        response = _response(status, payload)
        self._remember(data, call, route, response)
        return (part if route.reads_only else encode(data)), response

    # ── events ──────────────────────────────────────────────────────────────────────────────────

    @property
    def events(self) -> Events:
        """What happens here, for `lab.delivers`."""
        return Events(self)

    def waiting(self, part: bytes) -> tuple[Message, ...]:
        """The events that nobody has accepted yet, the oldest first."""
        data = decode(part)
        known = {one["id"]: one for one in data["objects"].get("events", [])}
        return tuple((name, known[name]) for name in data.get("waiting", []))

    def settled(self, part: bytes, name: str) -> bytes:
        """The state when an event was accepted, or given up: it is not delivered any more."""
        data = decode(part)
        if name not in data.get("waiting", []):
            return part
        data["waiting"].remove(name)
        return encode(data)

    def _find(self, op: Op) -> _Route | None:
        method, path = op.text.split(" ", 1)
        for route in self._routes:
            if route.method == method and re.fullmatch(route.pattern, path):
                return route
        return None

    def _call(self, op: Op) -> Call:
        method, path = op.text.split(" ", 1)
        query, headers, body = op.params  # as `edge.http` writes it
        route = self._find(op)
        found = re.fullmatch(route.pattern, path) if route else None
        return Call(
            method, path, dict(query), dict(headers), body, found.groupdict() if found else {}
        )

    def _key(self, call: Call, route: _Route) -> str | None:
        if self.keys is None or route.reads_only:
            return None
        key = call.headers.get(self.keys.header.lower())
        if key is None:
            return None
        return f"{call.method} {call.path} {key}" if self.keys.scope == "method+path" else key

    def _known(self, data: dict[str, Any], call: Call, route: _Route) -> Observation | None:
        key = self._key(call, route)
        found = next((one for one in data["keys"] if one[0] == key), None)
        if self.keys is None or key is None or found is None:
            return None
        _, asked, status, body = found
        if asked != [call.method, call.path, call.body]:
            return _response(
                self.keys.mismatch, {"error": "this idempotency key belongs to another request"}
            )
        return Observation((status, _JSON, body))

    def _remember(
        self, data: dict[str, Any], call: Call, route: _Route, response: Observation
    ) -> None:
        key = self._key(call, route)
        if self.keys is None or key is None:
            return
        status, _, body = response.value  # as `_response` makes it
        if f"{status // 100}xx" in self.keys.caches:
            data["keys"].append([key, [call.method, call.path, call.body], status, body])


_JSON = (("content-type", "application/json"),)


def _response(status: int, payload: object) -> Observation:
    return Observation((status, _JSON, msgspec.json.encode(payload)))
