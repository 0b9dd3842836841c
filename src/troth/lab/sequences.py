"""Numbers that a sequence gave out and that nobody has any more: they may be given out again, so that a graph can close.

PostgreSQL never takes a number back, so every attempt that is rolled back would lead to a new world. A number of which no trace is
left, in a row, at a provider, in what a live attempt has seen, or in what is under way, is as good as one that was never drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from troth.lab import moments
from troth.lab.model import Op, State
from troth.lab.world import decode

if TYPE_CHECKING:
    from troth.lab.tables import Tables

_DIGITS = re.compile(r"(?<![\d.])\d{1,18}(?![\d])")


def numbers_in(data: Any) -> Iterator[int]:
    """Every whole number in the data, also within text, but for timestamps."""
    if isinstance(data, bool) or data is None:
        return
    if isinstance(data, int):
        yield data
    elif isinstance(data, bytes):
        yield from numbers_in(data.decode(errors="replace"))
    elif isinstance(data, str):
        yield from map(int, _DIGITS.findall(moments.ISO.sub("", data)))
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from numbers_in(key)
            yield from numbers_in(value)
    elif isinstance(data, list | tuple):
        for item in data:
            yield from numbers_in(item)


class Freed:
    """States whose sequences are set back as far as nobody can tell."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[tuple[object, ...], int] = {}
        self._numbers: dict[tuple[str, int], frozenset[int]] = {}

    def of(self, state: State) -> State:
        """The state with the numbers freed."""
        live = tuple((one.history, one.opened) for one in state.attempts)
        place = (state.world, live, state.flying, state.idle)
        if place not in self._known:
            self._known[place] = self._freed(state)
        world = self._known[place]
        return state if world == state.world else state._replace(world=world)

    def _freed(self, state: State) -> int:
        from troth.lab.postgres import Postgres

        tables = self._tables
        parts = list(tables.worlds[state.world])
        for index, component in enumerate(tables.components):
            if isinstance(component, Postgres) and component.has_slack(parts[index]):
                parts[index] = component.freed(
                    parts[index], frozenset(self._traces(state, parts, index))
                )
        return tables.worlds.add(tuple(parts))

    def _traces(self, state: State, parts: list[bytes], index: int) -> Iterator[int]:
        tables = self._tables
        for number, part in enumerate(parts):
            if number != index:
                yield from numbers_in(decode(part))
        for one in state.attempts:
            if tables.only_answers(one.history):
                continue
            path = tables.history(one.history)
            for before, node in pairwise(path):
                asked = tables.nodes[before].op
                if asked is not None and tables.ops[asked].kind in {"sql", "http"}:
                    yield from self._once("seen", tables.nodes[node].observation)
            yield from self._once("opened", one.opened)
        for op in state.flying:
            yield from numbers_in([tables.ops[op].text, tables.ops[op].params])
        for memory in state.idle:
            yield from numbers_in(tables.memory.text(memory))

    def _once(self, kind: str, number: int) -> Iterable[int]:
        place = (kind, number)
        if place not in self._numbers:
            if kind == "seen":
                found = _observed(self._tables.observations[number].value)
            else:
                found = (n for op in self._tables.opened[number] for n in _drawn(op))
            self._numbers[place] = frozenset(found)
        return self._numbers[place]


def _observed(value: Any) -> Iterator[int]:
    rows = value[4] if isinstance(value, tuple) and len(value) == 5 else value
    yield from numbers_in(rows)


def _drawn(op: Op) -> Iterator[int]:
    """What a statement that is not committed has used: its parameters, its rows, and the numbers that it drew."""
    if op.kind != "held" or "sequences" not in op.params[0]:
        return
    what = op.params[0]
    yield from numbers_in(what["params"][:1])
    value, _ = what["seen"]
    yield from _observed(tuple(value))
    many = next(iter(reversed(list(numbers_in(value[1])))), 1) if isinstance(value[1], str) else 1
    for last, called in what["sequences"].values():
        yield from range(last + called, last + called + many)
