"""What a process remembers from one attempt to the next: found by comparing, put back by copying.

A warm process is a different process. Before each run its memory is set to what the search asks for, after it the memory is
compared with all that were seen before. Plain containers and values (of modules, closures, objects of the application's
classes) can be put back; anything else that changed refuses the verdict and is named.
"""

from __future__ import annotations

import copy
import enum
import functools
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any, cast
from uuid import UUID

from troth.lab.edge.attempt import ours
from troth.lab.edge.cache import Cached
from troth.lab.reach import around

_SCALARS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    Decimal,
    UUID,
    enum.Enum,
    timedelta,
    PurePath,
)
_DEPTH = 8
_CLIENTS = frozenset(
    (
        "troth",
        "httpx",
        "aiohttp",
        "aiosqlite",
        "asyncpg",
        "psycopg2",
        "requests",
        "urllib3",
        "stripe",
        "httpcore",
        "fastapi",
        "starlette",
        "pydantic",
        "anyio",
        "asyncio",
        "logging",
        "ssl",
        "re",
        "threading",
        "sqlalchemy",
        "greenlet",
    )
)
"""Libraries whose objects are used by a process but remember nothing that decides what code does next."""


class Carried(Exception):
    """Memory that the lab can see change but cannot put back."""


class Memory:
    """The memory of the process that the application runs in.

    Args:
        roots: what is run, and further objects to look into, by name (an app's `state`). Their modules, and those around
            them, are what is looked at.
        ignored: names of variables to leave alone.
    """

    def __init__(self, roots: dict[str, object], ignored: set[str]) -> None:
        self._roots = roots
        self._homes = {str(getattr(one, "__module__", "")) for one in roots.values()}
        self._ignored = ignored
        self._ids: dict[str, int] = {}
        self._seen: list[dict[str, tuple[str, Any]]] = []
        self._at = self.capture()

    def __len__(self) -> int:
        return len(self._seen)

    def capture(self) -> int:
        """The id of the memory as it is now; 0 is the memory at the beginning.

        Raises:
            Carried: something changed that could not be put back.
        """
        variables = dict(self._variables())
        digest = {name: _digest(variable.get(), _DEPTH) for name, variable in variables.items()}
        text = repr(sorted(digest.items()))
        number = self._ids.get(text)
        if number is None:
            first = self._seen[0] if self._seen else {}
            for name, now in digest.items():
                if (
                    name in first
                    and first[name][0] != now
                    and ("<" in now or "<" in first[name][0])
                ):
                    raise Carried(f"{name}: {_short(first[name][0])} became {_short(now)}")
            number = self._ids[text] = len(self._seen)
            self._seen.append({
                name: (now, None if "<" in now else _copied(variables[name].get(), _DEPTH)) for name, now in digest.items()
            })  # fmt: skip
        self._at = number
        return number

    def changed(self, number: int) -> bool:
        """Whether it is not now as when `capture` returned this id."""
        wanted = self._seen[number]
        return any(
            name in wanted and wanted[name][0] != _digest(variable.get(), _DEPTH)
            for name, variable in self._variables()
        )

    def restore(self, number: int) -> None:
        """Make the process remember what it did when `capture` returned this id."""
        if number == self._at:
            return
        wanted = self._seen[number]
        for name, variable in self._variables():
            if name in wanted and wanted[name][0] != _digest(variable.get(), _DEPTH):
                variable.set(wanted[name][1])
        self._at = number

    def text(self, number: int) -> str:
        """All that is remembered, as text; of the memory at the beginning, nothing."""
        return "" if number == 0 else "; ".join(now for now, _ in self._seen[number].values())

    def beginning(self) -> str:
        """All that is remembered at the beginning, as text; but for the environment."""
        return "; ".join(
            f"{name} {now}" for name, (now, _) in self._seen[0].items() if name != "os.environ"
        )

    def difference(self, number: int) -> list[str]:
        """What differs from the beginning, in words."""
        first, other = self._seen[0], self._seen[number]
        return [
            f"{name} = {_short(now)}"
            for name, (now, _) in other.items()
            if first.get(name, ("", None))[0] != now
        ]

    def _variables(self) -> Iterator[tuple[str, _Variable]]:
        seen: set[int] = (
            set()
        )  # what several places hold is one thing, and classes lead back to themselves
        for module in around(self._homes):
            for name, value in list(vars(module).items()):
                if not name.startswith(("__", "@")) and not _is(value, ModuleType):
                    rebind = functools.partial(setattr, module, name)
                    yield from self._of(f"{module.__name__}.{name}", value, rebind, seen)
        for name, value in self._roots.items():
            yield from self._of(name, value, None, seen)

    def _of(
        self, name: str, value: object, rebind: Callable[[Any], None] | None, seen: set[int]
    ) -> Iterator[tuple[str, _Variable]]:
        if name in self._ignored:
            return
        if not _is(value, _SCALARS):
            if id(value) in seen:
                return
            seen.add(id(value))
        if _is(value, FunctionType):
            yield from self._of_function(name, cast("FunctionType", value), seen)
        elif _is(value, type):
            yield from self._of_class(name, cast("type", value), seen)
        else:
            yield name, _Variable(value, rebind)

    def _of_function(
        self, name: str, function: FunctionType, seen: set[int]
    ) -> Iterator[tuple[str, _Variable]]:
        """What a function of the application holds: attributes, mutable defaults, closure."""
        if not ours(function.__code__.co_filename):
            return
        yield f"{name}.__dict__", _Variable(vars(function), None)
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        for number, default in enumerate(defaults):
            if _is(default, _CONTAINERS):
                yield from self._of(f"{name}, default {number}", default, None, seen)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for cell_name, cell in cells:
            try:
                content = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            rebind = functools.partial(setattr, cell, "cell_contents")
            yield from self._of(f"{name}.{cell_name}", content, rebind, seen)

    def _of_class(self, name: str, kind: type, seen: set[int]) -> Iterator[tuple[str, _Variable]]:
        """What a class of the application keeps for all its instances, and what its methods hold."""
        if not _is_ours(kind) or issubclass(kind, enum.Enum):
            return
        for attribute, content in list(vars(kind).items()):
            method = getattr(content, "__func__", content)  # of a classmethod or staticmethod
            kept = not attribute.startswith("__") and _is(content, _SCALARS + _CONTAINERS)
            if kept or _is(method, FunctionType):
                rebind = functools.partial(setattr, kind, attribute)
                yield from self._of(f"{name}.{attribute}", method, rebind, seen)


_CONTAINERS = (dict, list, set, deque)


class _Variable:
    """A value with a way to change it, in place where others may hold it."""

    def __init__(self, value: object, rebind: Callable[[Any], None] | None) -> None:
        self._value = value
        self._rebind = rebind

    def get(self) -> object:
        return self._value

    def set(self, saved: Any) -> None:
        wanted = _put_back(saved)
        mine = self._value
        if _is(mine, _CONTAINERS) and type(mine) is type(wanted):
            _refill(mine, wanted)
        elif wanted is not mine and self._rebind is not None:
            self._rebind(wanted)


def _refill(container: Any, content: Any) -> Any:
    """Replace what a container holds. It stays the same container, with its kind, default factory and length."""
    held = list(content.items()) if isinstance(content, dict) else list(content)
    container.clear()
    if isinstance(container, list | deque):
        container.extend(held)
    else:
        container.update(held)
    return container


class _Kept:
    """An object of the application and what its attributes were. It is put back in place: others may hold it."""

    def __init__(self, owner: object, attributes: dict[str, Any]) -> None:
        self.owner = owner
        self.attributes = attributes


def _attributes(owner: object) -> dict[str, Any] | None:
    """What an object of the application remembers, wherever its class keeps it."""
    if not _is(owner, Cached) and not _is_ours(type(owner)):
        return None
    if hasattr(owner, "__dict__"):
        return vars(owner)
    slots = [slot for kind in type(owner).__mro__ for slot in getattr(kind, "__slots__", ())]
    return {slot: getattr(owner, slot) for slot in slots if hasattr(owner, slot)}


def _copied(value: Any, depth: int) -> Any:
    """A copy down to what cannot change, and to objects that are nobody's memory (functions, clients)."""
    if depth == 0:
        return value
    if _is(value, dict):
        return _refill(copy.copy(value), {k: _copied(v, depth - 1) for k, v in value.items()})
    if _is(value, (list, deque)):
        return _refill(copy.copy(value), [_copied(item, depth - 1) for item in value])
    if _is(value, set):
        return copy.copy(value)
    if type(value) is tuple:
        return tuple(_copied(item, depth - 1) for item in value)
    attributes = _attributes(value)
    return value if attributes is None else _Kept(value, _copied(dict(attributes), depth - 1))


def _put_back(saved: Any) -> Any:
    """The value that a copy stands for; the copy stays as it is, for the next time."""
    if isinstance(saved, _Kept):
        attributes = _put_back(saved.attributes)
        if hasattr(saved.owner, "__dict__"):
            vars(saved.owner).clear()
        for name, value in attributes.items():
            object.__setattr__(saved.owner, name, value)
        return saved.owner
    if isinstance(saved, dict):
        return _refill(copy.copy(saved), {k: _put_back(v) for k, v in saved.items()})
    if isinstance(saved, list | deque):
        return _refill(copy.copy(saved), [_put_back(item) for item in saved])
    if type(saved) is tuple:
        return tuple(_put_back(item) for item in saved)
    return copy.copy(saved) if isinstance(saved, set) else saved


def _is(value: Any, kind: Any) -> bool:
    """As `isinstance`, without asking the value: lazy objects, like Django's settings, wake if they are asked what they are."""
    return issubclass(type(value), kind)


def _is_ours(kind: Any) -> bool:
    return _is_ours_named(kind.__module__)


@functools.cache
def _is_ours_named(name: str) -> bool:
    module = sys.modules.get(name)
    return bool(module and (file := getattr(module, "__file__", None)) and ours(file))


def _digest(value: object, depth: int) -> str:
    """The content as text. What cannot be read, and so not put back, is written in angle brackets."""
    if _is(value, _SCALARS):
        return repr(value).replace("<", "‹")
    if depth == 0:
        return "…"
    for kind, write in _WRITERS:
        if _is(value, kind):
            return write(value, depth - 1)
    attributes = _attributes(value)
    if attributes is not None:
        return f"{type(value).__name__}({_dict(attributes, depth - 1)})"
    if callable(value):
        return f"a {type(value).__name__}"
    return f"<{type(value).__module__}.{type(value).__name__} {_inside(value, depth - 1)}>"


def _inside(value: object, depth: int) -> str:
    """What can be said of an object of a library. Most clients change all the time, and it means nothing."""
    if type(value).__module__.partition(".")[0] in _CLIENTS or not hasattr(value, "__dict__"):
        return f"{id(value):#x}"
    return _dict(vars(value), depth)


def _iterator(value: Any, _: int) -> str:
    try:
        with warnings.catch_warnings(action="ignore"):
            return f"<{type(value).__name__} {value.__reduce__()!r}>"
    except TypeError:  # a generator, a file
        return f"<{type(value).__name__} {id(value):#x}>"


def _dict(value: Any, depth: int) -> str:
    return (
        "{" + ", ".join(f"{_digest(k, depth)}: {_digest(v, depth)}" for k, v in value.items()) + "}"
    )


def _sequence(value: Any, depth: int) -> str:
    return "[" + ", ".join(_digest(item, depth) for item in value) + "]"


def _set(value: Any, depth: int) -> str:
    return "{" + ", ".join(sorted(_digest(item, depth) for item in value)) + "}"


def _cached(value: Any, depth: int) -> str:
    return f"cache {_dict(value.entries, depth)}" if value.entries else "cache, empty"


def _cache_in_c(value: Any, _: int) -> str:
    entries = value.cache_info().currsize
    return f"<lru_cache with {entries} entries>" if entries else "lru_cache, empty"


_WRITERS: tuple[tuple[Any, Callable[[Any, int], str]], ...] = (
    (dict, _dict),
    ((list, tuple, deque), _sequence),
    ((set, frozenset), _set),
    (Cached, _cached),
    (functools._lru_cache_wrapper, _cache_in_c),  # noqa: SLF001  (its only name)
    (date, lambda value, _: value.isoformat()),
    (Iterator, _iterator),
    ((FunctionType, type, ModuleType), lambda value, _: f"a {type(value).__name__}"),
)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"
