"""States that differ only in how their clock is numbered, while attempts are alive: each is known by the first of its kind.

An attempt that lives on, while others come and go and each writes a later time, would see ever new worlds. What code does
with times depends on their order and their distances only, so the times of the world, of what live attempts have observed, and of
effects that are under way are numbered together, in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from troth.lab import moments
from troth.lab.model import Attempt, State
from troth.lab.world import decode, encode

if TYPE_CHECKING:
    from troth.lab.tables import Tables

Ranks = tuple[int, ...]


class Alike:
    """The first state of each kind."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._first: dict[bytes, State] = {}
        self._ticks: dict[tuple[str, object, frozenset[int]], frozenset[int]] = {}
        self._marked: dict[tuple[str, object, Ranks], bytes] = {}

    def known(self, state: State) -> State:
        """The state, with world, histories and effects under way as in the first state that is like it."""
        subjects: list[tuple[str, Any]] = [("world", state.world)]
        subjects += [("live", (one.history, one.opened)) for one in state.attempts]
        subjects += [("flying", op) for op in state.flying]
        present = frozenset[int]().union(*map(self._present, subjects))
        if not present:
            return state
        ranks = tuple(sorted(present))
        marks = [self._mark(subject, ranks) for subject in subjects]
        live = len(state.attempts)
        order = sorted(range(live), key=lambda n: (marks[1 + n], state.attempts[n]))
        key = encode([marks[0], [marks[1 + n] for n in order], sorted(marks[1 + live :])])
        mine = [state.attempts[n] for n in order]
        first = self._first.setdefault(key, state._replace(attempts=tuple(mine)))
        if first is state:
            return state
        attempts = list(state.attempts)
        for place, theirs in zip(order, first.attempts, strict=True):
            attempts[place] = _as(attempts[place], theirs)
        return state._replace(world=first.world, attempts=tuple(attempts), flying=first.flying)

    def _present(self, subject: tuple[str, Any]) -> frozenset[int]:
        issued = self._tables.worlds.issued
        place = (*subject, issued)
        if place not in self._ticks:
            found = frozenset(moments.ticks(self._content(subject), issued))
            if subject[0] == "live":
                opened = self._tables.opened[subject[1][1]]
                found |= {op.params[0] for op in opened if op.kind == "clock"}
            self._ticks[place] = found
        return self._ticks[place]

    def _mark(self, subject: tuple[str, Any], ranks: Ranks) -> bytes:
        place = (*subject, ranks)
        if place not in self._marked:
            numbers = {tick: number for number, tick in enumerate(ranks, start=1)}
            self._marked[place] = encode(moments.marked(self._content(subject, numbers), numbers))
        return self._marked[place]

    def _content(self, subject: tuple[str, Any], numbers: dict[int, int] | None = None) -> object:
        """What a subject consists of. A tick that a clock showed is a bare number, and renumbered as such."""
        tables = self._tables
        kind, which = subject
        if kind == "world":
            return [decode(part) for part in tables.worlds[which]]
        if kind == "flying":
            op = tables.ops[which]
            return [op.kind, op.target, op.text, op.params]
        history, opened = which
        seen: list[object] = list(tables.nodes[history].root)
        for node in tables.history(history)[1:]:
            value = tables.observations[tables.nodes[node].observation]
            asked = tables.ops[tables.nodes[tables.nodes[node].parent].op or 0]
            shown = value.value
            if asked.kind == "clock":
                shown = ["tick", (numbers or {}).get(value.value, value.value)]
            seen.append([shown, value.error])
        running = [
            ["tick", (numbers or {}).get(op.params[0], op.params[0])]
            if op.kind == "clock"
            else [op.kind, op.target, op.text, op.params, op.handle]
            for op in tables.opened[opened]
        ]
        return [seen, running]


def _as(mine: Attempt, theirs: Attempt) -> Attempt:
    return mine._replace(history=theirs.history, opened=theirs.opened)
