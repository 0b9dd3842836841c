"""Worlds: what is durable, as encoded parts, one per component; and how promises see them.

A part is the msgpack of plain data, so it can be hashed, stored and compared, and nobody can change it by accident.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import msgspec

from troth.lab import moments
from troth.lab.model import LabError

_encoder = msgspec.msgpack.Encoder(order="deterministic")
decode = msgspec.msgpack.decode


def encode(data: object) -> bytes:
    """Plain data as a part."""
    return _encoder.encode(data)


class Component(Protocol):
    """Something in the world that has a durable state: a database, a provider, a sink."""

    name: str

    def view(self, part: bytes) -> object:
        """The state as promises see it."""
        ...


@runtime_checkable
class Keeper(Protocol):
    """A component that knows what of its state is the same when nobody is at work."""

    def at_rest(self, part: bytes) -> bytes:
        """The part as it is known then."""
        ...


class View:
    """The world as a promise sees it: `w.db.users`, `w.stripe.charges`, `w.mailbox.messages`."""

    def __init__(self, components: tuple[Component, ...], parts: tuple[bytes, ...]) -> None:
        self._views = {c.name: c.view(part) for c, part in zip(components, parts, strict=True)}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._views[name]
        except KeyError:
            raise LabError(f"the world has no {name!r}; it has {', '.join(self._views)}") from None


class Worlds:
    """The table W: every world met so far.

    Worlds at rest that differ only in how their clock is numbered are one. While an attempt is alive they are not: it may
    hold a timestamp that it has read or written, and compare it with the one in the world.
    """

    def __init__(self, components: tuple[Component, ...]) -> None:
        self.components = components
        self._ids: dict[tuple[bytes, ...], int] = {}
        self._parts: list[tuple[bytes, ...]] = []
        self._views: dict[int, View] = {}
        self._issued: frozenset[int] = frozenset()
        self._rests: dict[tuple[int, frozenset[int]], int] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, world: int) -> tuple[bytes, ...]:
        return self._parts[world]

    def __iter__(self) -> Iterator[tuple[bytes, ...]]:
        return iter(self._parts)

    def add(self, parts: tuple[bytes, ...]) -> int:
        """The id of a world as it is."""
        return self._add(parts, parts)

    def rest(self, world: int) -> int:
        """The id of the world when nobody is at work in it."""
        known = self._rests.get((world, self._issued))
        if known is None:
            parts = tuple(
                component.at_rest(part) if isinstance(component, Keeper) else part
                for component, part in zip(self.components, self._parts[world], strict=True)
            )
            known = self._rests[world, self._issued] = self._add(self._key(parts), parts)
        return known

    def _add(self, key: tuple[bytes, ...], parts: tuple[bytes, ...]) -> int:
        world = self._ids.setdefault(key, len(self._parts))
        if world == len(self._parts):
            self._parts.append(parts)
        return world

    def view(self, world: int) -> View:
        """The world as promises see it."""
        if world not in self._views:
            self._views[world] = View(self.components, self._parts[world])
        return self._views[world]

    def latest_tick(self, world: int) -> int:
        """The latest tick of which the world has a timestamp; 0 if there is none."""
        return max(self._ticks(self._parts[world]), default=0)

    def issue(self, tick: int) -> None:
        """A clock showed this tick to somebody: from now on it is recognised in the data."""
        self._issued |= {tick}

    @property
    def issued(self) -> frozenset[int]:
        """Every tick that some clock showed."""
        return self._issued

    def _ticks(self, parts: tuple[bytes, ...]) -> set[int]:
        return (
            {tick for part in parts for tick in _ticks(part, self._issued)}
            if self._issued
            else set()
        )

    def _key(self, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        present = sorted(self._ticks(parts))
        if not present:
            return parts
        ranks = {tick: number for number, tick in enumerate(present, start=1)}
        return tuple(encode(moments.marked(decode(part), ranks)) for part in parts)


@lru_cache(maxsize=4096)
def _ticks(part: bytes, issued: frozenset[int]) -> frozenset[int]:
    return frozenset(moments.ticks(decode(part), issued))


def grown(
    before: tuple[bytes, ...], after: tuple[bytes, ...], names: tuple[str, ...]
) -> frozenset[str]:
    """Where `after` is `before` and more: rows added, counters advanced. Empty if anything else differs too, or nothing.

    Such a pair on one path means that the graph may never close.
    """
    places: set[str] = set()
    for name, old, new in zip(names, before, after, strict=True):
        if old != new:
            found = list(_growth(_content(decode(old)), _content(decode(new)), name))
            if None in found:
                return frozenset()
            places.update(place for place in found if place)
    return frozenset(places)


def _content(part: Any) -> Any:
    """What people call by name in a part: a database's tables, a provider's collections."""
    if not isinstance(part, dict):
        return part
    if "tables" in part:
        return {
            name: rows for name, (_, rows) in part["tables"].items() if name != "sqlite_sequence"
        }
    return part["objects"]


def _growth(old: Any, new: Any, place: str) -> Iterator[str | None]:
    """Places that grew; None for a difference that is no growth."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        if not old.keys() <= new.keys():
            yield None
        for key, value in new.items():
            yield from _growth(old.get(key, []), value, f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        yield from _growth_of_rows(old, new, place)
    else:
        counter = type(old) is type(new) is int and new > old
        yield place if counter else None


def _growth_of_rows(old: list[Any], new: list[Any], place: str) -> Iterator[str | None]:
    if len(new) < len(old):
        yield None
    if len(new) > len(old):
        yield place
        if not _counted(old) - _counted(new):
            return
    for first, second in zip(old, new, strict=False):
        yield from _growth(first, second, place)


def _counted(items: list[Any]) -> Counter[bytes]:
    return Counter(map(encode, items))
