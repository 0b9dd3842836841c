"""What a process remembers, as text: equal texts mean equal memory, and what cannot be put back is written in angle brackets."""

from __future__ import annotations

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
from typing import Any
from uuid import UUID

from troth.lab.edge.attempt import ours
from troth.lab.edge.cache import Cached

SCALARS = (
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
DEPTH = 8
_CLIENTS = frozenset(
    (
        "troth",
        "httpx",
        "aiohttp",
        "aiosqlite",
        "asyncpg",
        "psycopg2",
        "redis",
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
        "celery",
        "kombu",
        "django",
        "asgiref",
        "pytest",
        "_pytest",
        "hypothesis",
    )
)
"""Libraries whose objects are used by a process but remember nothing that decides what code does next."""

CONTAINERS = (dict, list, set, deque)


def attributes_of(owner: object) -> dict[str, Any] | None:
    """What an object of the application remembers, wherever its class keeps it."""
    if not is_(owner, Cached) and not is_ours(type(owner)):
        return None
    if hasattr(owner, "__dict__"):
        return vars(owner)
    slots = [slot for kind in type(owner).__mro__ for slot in getattr(kind, "__slots__", ())]
    return {slot: getattr(owner, slot) for slot in slots if hasattr(owner, slot)}


def is_(value: Any, kind: Any) -> bool:
    """As `isinstance`, without asking the value: lazy objects, like Django's settings, wake if they are asked what they are."""
    return issubclass(type(value), kind)


def is_ours(kind: Any) -> bool:
    """Whether a class or function belongs to the application."""
    return _is_ours_named(kind.__module__)


@functools.cache
def _is_ours_named(name: str) -> bool:
    module = sys.modules.get(name)
    return bool(module and (file := getattr(module, "__file__", None)) and ours(file))


def written(value: object, depth: int) -> str:
    """The content as text. What cannot be read, and so not put back, is written in angle brackets."""
    if is_(value, SCALARS):
        return repr(value).replace("<", "‹")
    if depth == 0:
        return "…"
    for kind, write in _WRITERS:
        if is_(value, kind):
            return write(value, depth - 1)
    attributes = attributes_of(value)
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
        "{" + ", ".join(f"{written(k, depth)}: {written(v, depth)}" for k, v in value.items()) + "}"
    )


def _sequence(value: Any, depth: int) -> str:
    return "[" + ", ".join(written(item, depth) for item in value) + "]"


def _set(value: Any, depth: int) -> str:
    return "{" + ", ".join(sorted(written(item, depth) for item in value)) + "}"


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


def is_steady(value: object) -> bool:
    """Whether its text stays the same as long as it is the same object."""
    if is_(value, (*SCALARS, date, FunctionType, type, ModuleType)):
        return True
    if is_(value, (tuple, frozenset)):
        return all(is_(item, SCALARS) for item in value)  # type: ignore[attr-defined]
    if any(is_(value, kind) for kind, _ in _WRITERS) or attributes_of(value) is not None:
        return False
    of_a_client = type(value).__module__.partition(".")[0] in _CLIENTS
    return callable(value) or of_a_client or not hasattr(value, "__dict__")
