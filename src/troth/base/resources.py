"""Resources: clients and connections that step bodies use, opened once per event loop and injected by their type.

A body asks synchronously (`call.get(StripeClient)`), but opening may have to wait, and it may fail. So what a body needs
is opened before the body begins: the types are read off its code, and off the functions of its module that it names. If
one cannot be opened, the attempt has failed before anything was sent.

Each resource lives in a task of its own, which enters and leaves its context manager: what is inside (a task group, a
cancel scope, context variables) need not be left by whoever happened to ask first.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast, get_args

from troth.base.codec import hints_of
from troth.base.errors import NotInRunError, TrothError, UsageError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("troth.resources")

_ABSENT: Any = object()


class ResourceError(TrothError):
    """A resource could not be opened; `__cause__` is why. Nothing that needs it was begun."""


@dataclass(frozen=True, slots=True)
class Resource:
    """How one type of object is made, and what it is made of."""

    kind: type
    function: Callable[..., Any]
    is_async: bool
    needs: tuple[tuple[str, type], ...]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Resource:
        """Read a generator function. Raises `UsageError` if it does not say what it yields, or what it needs."""
        body = inspect.unwrap(function)
        is_async = inspect.isasyncgenfunction(body)
        if not is_async and not inspect.isgeneratorfunction(body):
            msg = f"resource {body.__name__}: it must yield what it has opened, and close it after the yield"
            raise UsageError(msg)
        hints = hints_of(body)
        yielded = next(iter(get_args(hints.get("return"))), None)
        if not isinstance(yielded, type):
            container = "AsyncIterator" if is_async else "Iterator"
            msg = f"resource {body.__name__}: say which type it yields, like -> {container}[Client]"
            raise UsageError(msg)
        needs: list[tuple[str, type]] = []
        for name in inspect.signature(body).parameters:
            if not isinstance(hints.get(name), type):
                msg = f"resource {body.__name__}: parameter {name} must have the type of another resource"
                raise UsageError(msg)
            needs.append((name, hints[name]))
        return cls(yielded, body, is_async, tuple(needs))


class ResourceRegistry:
    """The resources of a program or of a group of definitions, by type, and what stands in for them in a test."""

    def __init__(self) -> None:
        self._own: dict[type, Resource] = {}
        self._included: list[ResourceRegistry] = []
        self._replaced: dict[type, Any] = {}
        self._mentions: dict[Callable[..., Any], tuple[frozenset[str], frozenset[int]]] = {}

    def add(self, function: Callable[..., Any]) -> None:
        """Register one. Raises `UsageError` if its type has one already."""
        made = Resource.of(function)
        if made.kind in self.known():
            msg = f"there are two resources of type {made.kind.__name__}"
            raise UsageError(msg)
        self._own[made.kind] = made

    def include(self, other: ResourceRegistry) -> None:
        """Have those of *other* too, also those that it will get. Raises `UsageError` if both have one of a type."""
        twice = [kind.__name__ for kind in other.known() if kind in self.known()]
        if twice:
            msg = f"there are two resources of type {', '.join(twice)}"
            raise UsageError(msg)
        self._included.append(other)

    def known(self) -> dict[type, Resource]:
        """All of them, by type."""
        found = dict(self._own)
        for other in self._included:
            found.update(other.known())
        return found

    @contextmanager
    def replaced(self, kind: type[T], value: T) -> Iterator[T]:
        """Give *value* to whoever asks for a *kind*, until this is left."""
        before = self._replaced.get(kind, _ABSENT)
        self._replaced[kind] = value
        try:
            yield value
        finally:
            if before is _ABSENT:
                del self._replaced[kind]
            else:
                self._replaced[kind] = before

    def replacement(self, kind: type) -> Any:
        """What stands in for it, or `_ABSENT`."""
        found = self._replaced.get(kind, _ABSENT)
        for other in self._included:
            if found is _ABSENT:
                found = other.replacement(kind)
        return found

    def find(self, kind: type) -> Resource:
        """How a *kind* is made. Raises `UsageError` that says what there is."""
        found = self.known()
        if kind not in found:
            names = ", ".join(sorted(k.__name__ for k in found)) or "none"
            msg = f"there is no resource of type {kind.__name__}; registered with @troth.resource: {names}"
            raise UsageError(msg)
        return found[kind]

    def in_order(self, kind: type) -> list[Resource]:
        """What must be open for a *kind*, itself last. Raises `UsageError` for a type that is unknown or needs itself."""
        order: dict[type, Resource] = {}

        def visit(wanted: type, above: tuple[type, ...]) -> None:
            if wanted in above:
                circle = " needs ".join(k.__name__ for k in (*above, wanted))
                msg = f"resources need each other in a circle: {circle}"
                raise UsageError(msg)
            if wanted in order or self.replacement(wanted) is not _ABSENT:
                return
            resource = self.find(wanted)
            for _, needed in resource.needs:
                visit(needed, (*above, wanted))
            order[wanted] = resource

        visit(kind, ())
        return list(order.values())

    def needed_by(self, function: Callable[..., Any]) -> list[type]:
        """The types of resources that a body names."""
        known = self.known()
        if not known:
            return []
        if function not in self._mentions:
            self._mentions[function] = _mentioned(function)
        names, values = self._mentions[function]
        return [kind for kind in known if kind.__name__ in names or id(kind) in values]

    def unfit(self, function: Callable[..., Any]) -> str | None:
        """Why a body cannot have what it asks for: a `def` runs in a thread, and a loop's resources stay in the loop."""
        if inspect.iscoroutinefunction(inspect.unwrap(function)):
            return None
        for kind in self.needed_by(function):
            asks = "get" in self._mentions[function][0]
            if asks and self.find(kind).is_async and self.replacement(kind) is _ABSENT:
                return _of_the_loop(kind)
        return None


@dataclass(slots=True)
class _Held:
    """One open resource, or one that is being opened."""

    opened: asyncio.Future[Any]
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class OpenResources:
    """The resources of one event loop. Make it in that loop; `get` is safe from the threads of its steps too."""

    def __init__(self, registry: ResourceRegistry) -> None:
        self.registry = registry
        self._held: dict[type, _Held] = {}
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._context = contextvars.copy_context()
        self._closed = False

    def is_ready_for(self, function: Callable[..., Any]) -> bool:
        """Is everything open that this body names?"""
        wanted = self.registry.needed_by(function)
        if any(self._value(kind) is _ABSENT for kind in wanted):
            return False
        return not wanted or self.registry.unfit(function) is None

    async def open_for(self, function: Callable[..., Any]) -> None:
        """Open what this body names. Raises `ResourceError`, and `UsageError` for what it cannot have."""
        if (said := self.registry.unfit(function)) is not None:
            raise UsageError(said)
        for kind in self.registry.needed_by(function):
            if self._value(kind) is _ABSENT:
                await self.open(kind)

    async def open(self, kind: type) -> None:
        """Open one, with what it needs; who asks at the same time waits for the same. Raises `ResourceError`."""
        for resource in self.registry.in_order(kind):
            held = self._held.get(resource.kind)
            if held is None:
                if self._closed:
                    msg = f"{kind.__name__} is not opened any more: this worker is closing"
                    raise ResourceError(msg)
                held = _Held(self._loop.create_future())
                held.opened.add_done_callback(_heard)
                self._held[resource.kind] = held
                # Not in the context of a step: it outlives that.
                context = self._context.copy()
                held.task = self._loop.create_task(self._hold(resource, held), context=context)
            await asyncio.shield(held.opened)

    def get(self, kind: type[T]) -> T:
        """The open resource. Raises `UsageError` if there is none, or if this body was not seen to need it."""
        in_loop = threading.get_ident() == self._thread
        found = self.registry.replacement(kind)
        if found is not _ABSENT:
            return cast("T", found)
        resource = self.registry.find(kind)
        if not in_loop and resource.is_async:
            raise UsageError(_of_the_loop(kind))
        found = self._value(kind)
        if found is _ABSENT and not in_loop:
            asyncio.run_coroutine_threadsafe(self.open(kind), self._loop).result()
            found = self._value(kind)
        if found is _ABSENT:
            msg = (
                f"{kind.__name__} is not open: it is opened before a body that names it. Name {kind.__name__} in the "
                "step's own function (or in a function of its module that it calls), and pass the object on from there"
            )
            raise UsageError(msg)
        return cast("T", found)

    async def close(self) -> None:
        """Close what is open, the latest first."""
        self._closed = True
        for kind, held in reversed(list(self._held.items())):
            if held.task is None:
                continue
            if held.opened.done():
                held.leave.set()
            else:
                held.task.cancel()
            await asyncio.gather(held.task, return_exceptions=True)
            self._held.pop(kind, None)

    def _value(self, kind: type) -> Any:
        replacement = self.registry.replacement(kind)
        if replacement is not _ABSENT:
            return replacement
        held = self._held.get(kind)
        if held is None or not held.opened.done() or held.opened.exception() is not None:
            return _ABSENT
        return held.opened.result()

    async def _hold(self, resource: Resource, held: _Held) -> None:
        try:
            arguments = {name: self._value(kind) for name, kind in resource.needs}
            async with _entered(resource, arguments) as value:
                held.opened.set_result(value)
                await held.leave.wait()
        except BaseException as error:
            if held.opened.done():
                log.warning("%s was closed with an error: %r", resource.kind.__name__, error)
                return
            self._held.pop(resource.kind, None)  # whoever asks next tries again
            said = f"{resource.kind.__name__} could not be opened: {type(error).__name__}: {error}"
            failed = ResourceError(said)
            failed.__cause__ = error
            held.opened.set_exception(failed)
            if isinstance(error, asyncio.CancelledError):
                raise


current: contextvars.ContextVar[OpenResources | None] = contextvars.ContextVar(
    "troth_resources", default=None
)


def get(kind: type[T]) -> T:
    """The resource of this type, for the body of a step. Raises `NotInRunError` elsewhere, `UsageError` if there is none."""
    resources = current.get()
    if resources is None:
        msg = f"{kind.__name__} is asked for outside a step: resources are open for bodies of steps"
        raise NotInRunError(msg)
    return resources.get(kind)


@asynccontextmanager
async def _entered(resource: Resource, arguments: dict[str, Any]) -> Any:
    if resource.is_async:
        async with asynccontextmanager(resource.function)(**arguments) as value:
            yield value
        return
    manager = contextmanager(resource.function)(**arguments)
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


def _of_the_loop(kind: type) -> str:
    return (
        f"{kind.__name__} belongs to the event loop, and a `def` body runs in a thread: make the body `async def`, or the "
        "resource a plain generator"
    )


def _heard(opened: asyncio.Future[Any]) -> None:
    if not opened.cancelled():
        opened.exception()


def _mentioned(function: Callable[..., Any]) -> tuple[frozenset[str], frozenset[int]]:
    """The names in a function's code and in that of its module's functions that it names; the ids of what they mean."""
    names: set[str] = set()
    values: set[int] = set()
    seen: set[types.FunctionType] = set()
    waiting = [inspect.unwrap(function)]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, types.FunctionType) or one in seen:
            continue
        seen.add(one)
        own = _names_of(one.__code__)
        names |= own
        found = [one.__globals__[name] for name in own if name in one.__globals__]
        for cell in one.__closure__ or ():
            with contextlib.suppress(ValueError):  # it has no value yet
                found.append(cell.cell_contents)
        values |= {id(value) for value in found}
        waiting += [
            value
            for value in found
            if isinstance(value, types.FunctionType) and value.__module__ == one.__module__
        ]
    return frozenset(names), frozenset(values)


def _names_of(code: types.CodeType) -> set[str]:
    names = {*code.co_names, *code.co_freevars}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= _names_of(inner)
    return names
