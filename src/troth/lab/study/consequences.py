"""The consequence map: each step of a run in which nothing fails, each fault there, and what it leads to.

After the fault nothing else fails, and the caller asks again as it would. Every way in which that can go on is followed, and the worst of
them is told. What no promise speaks of is compared with the run in which nothing failed: how many of what there are, and what
they say, but for ids and times.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from troth.lab.describe import Hidden, call, site
from troth.lab.mailbox import Mailbox
from troth.lab.model import State, Step
from troth.lab.narrate import collections
from troth.lab.promise import SEVERITIES, Judge
from troth.lab.provider import Provider
from troth.lab.show.document import Cell, Consequence, Map, Row, column
from troth.lab.steps import Moves
from troth.lab.study.calm import Place, Reached, first_broken, reach

if TYPE_CHECKING:
    from troth.lab.tables import Tables

MOST_ROWS = 40
_WORDS: dict[str, Consequence] = {
    "money": "money", "lie": "told a lie", "stuck": "stuck", "lost": "lost",
    "doubled": "doubled", "litter": "litter", "repeat": "doubled",
}  # fmt: skip
_BADNESS = tuple(dict.fromkeys((*_WORDS.values(), "half-done", "in doubt", "unknown", "kept")))
_EPOCHS = range(10**9, 10**19)

Content = dict[str, "Counter[str]"]


class Mapper:
    """Makes the map of one scenario.

    Args:
        tables: what the search has filled.
        judge: the promises.
        moves: what can happen next.
        accepted: names of the mailboxes in which repetitions are accepted.
        seconds: after so long no further step is looked at.
        hidden: names of fields whose values are not shown.
    """

    def __init__(
        self,
        tables: Tables,
        judge: Judge,
        moves: Moves,
        accepted: frozenset[str],
        seconds: float,
        hidden: Hidden,
    ) -> None:
        self._hidden = hidden
        self._tables = tables
        self._judge = judge
        self._moves = moves
        self._accepted = accepted
        self._deadline = time.monotonic() + seconds
        self._told_clean: dict[int, int] = {}
        self._lasting = self._collections_that_last()

    def map(self, start: State) -> Map:
        """The map from this beginning on."""
        clean, rest = self._clean(start)
        if rest is None:
            return Map(partial="there is no map: without any fault nobody comes to a rest")
        self._told_clean = self._told(step for _, step in clean)
        expected = content(self._tables, rest.world)
        steps = [
            (state, step) for state, step in clean if step.action == "op" and self._fails(state)
        ]
        rows: list[Row] = []
        for state, step in steps[:MOST_ROWS]:
            if time.monotonic() > self._deadline:
                break
            label = self._tables.actors[step.actor].call.label
            place = site(self._tables.nodes[step.history].site)
            op = call(self._tables.ops[step.op], self._hidden)
            rows.append(Row(label, op, place, self._cells(state, expected)))
        world = ", ".join(f"{c.total()} {name}" for name, c in expected.items() if c)
        cut = len(rows) < len(steps)
        return Map(
            tuple(rows),
            f"Without any fault it ends with {world or 'nothing'}.",
            f"only the first {len(rows)} of {len(steps)} steps were looked at" if cut else "",
        )

    def _fails(self, state: State) -> bool:
        return any(cost for *_, cost in self._moves.of(state))

    def _clean(self, start: State) -> tuple[list[tuple[State, Step]], State | None]:
        """The run in which nothing fails, of each actor once, and the rest that it ends in."""
        reached = reach(self._moves, start)
        rest = next(iter(reached.rests()), None)
        if rest is None:
            return [], None
        steps: list[tuple[State, Step]] = []
        place: Place = rest
        while (parent := reached.parents[place]) is not None:
            place, step = parent
            steps.append((place[0], step))
        return steps[::-1], rest[0]

    def _cells(self, state: State, expected: Content) -> tuple[Cell, ...]:
        """The faults that are possible here, one cell for each kind of them."""
        found: dict[str, Cell] = {}
        for step, after, cost in self._moves.of(state):
            if cost:
                cell = self._cell(step, after, expected)
                worst = found.get(step.word)
                if worst is None or _rank(cell) < _rank(worst):
                    found[step.word] = cell
        return tuple(sorted(found.values(), key=lambda cell: column(cell.fault)))

    def _cell(self, step: Step, after: State, expected: Content) -> Cell:
        reached = reach(self._moves, after)
        promises = self._judge.promises
        broken = first_broken(self._judge, reached, set(range(len(promises))))
        if broken:
            worst = min(broken, key=lambda number: SEVERITIES.index(promises[number].severity))
            midway = promises[worst].kind in {"always", "monitor"}  # what is missing may still come
            return Cell(
                step.word,
                _WORDS[promises[worst].severity],
                promises[worst].severity,
                promises[worst].costs,
                tuple(promises[number].title for number in sorted(broken)),
                "; ".join(self._difference(broken[worst][0].world, expected, midway=midway)),
            )
        if not reached.whole:
            return Cell(step.word, "unknown", detail=f"more than {len(reached.parents):,} states")
        cells = [self._rest(step, reached, rest, expected) for rest in reached.rests()]
        return min(
            cells, key=_rank, default=Cell(step.word, "in doubt", detail="nobody comes to a rest")
        )

    def _rest(self, step: Step, reached: Reached, rest: Place, expected: Content) -> Cell:
        """What a rest in which every promise is kept is like, beside the run in which nothing failed."""
        told = self._told(reached.path(rest))
        unsure = any(one >= 400 > self._told_clean.get(actor, 500) for actor, one in told.items())
        more, less, other = self._compared(rest[0].world, expected)
        detail = "; ".join(self._difference(rest[0].world, expected))
        consequence: Consequence = "kept"
        if less or other:
            consequence = "half-done"
        elif any(self._matters(name) for name in more):
            consequence = "doubled"
        elif any(name.rpartition(".")[0] not in self._accepted for name in more):
            consequence = "litter"
        elif unsure:
            consequence = "in doubt"
        return Cell(step.word, consequence, detail=detail, told=", ".join(map(str, told.values())))

    def _told(self, steps: Iterable[Step]) -> dict[int, int]:
        """The last answer that each actor was told."""
        return {
            step.actor: self._tables.answers[step.told - 1].status
            for step in steps
            if step.action == "op" and step.told
        }

    # ── comparing worlds ────────────────────────────────────────────────────────────────────────

    def _matters(self, name: str) -> bool:
        """Whether one more of these is more than litter: a row, or what cannot be taken back at a provider."""
        part = next(one for one in self._tables.components if one.name == name.rpartition(".")[0])
        if isinstance(part, Provider):
            return name in self._lasting
        return not (isinstance(part, Mailbox) and part.name in self._accepted)

    def _collections_that_last(self) -> set[str]:
        """What grows at providers by calls that cannot be taken back."""
        found = set[str]()
        for number in range(len(self._tables.ops)):
            op = self._tables.ops[number]
            part = self._tables.part(op)
            if isinstance(part, Provider) and part.irreversible(op):
                before = part.initial()
                after, _ = part.perform(before, op)
                old, new = collections(part, before), collections(part, after)
                found |= {name for name, rows in new.items() if len(rows) > len(old.get(name, []))}
        return found

    def _compared(self, world: int, expected: Content) -> tuple[list[str], list[str], list[str]]:
        """Of what there is more, less, and as much but other, than there should be."""
        found = content(self._tables, world)
        more, less, other = [], [], []
        for name in sorted(found.keys() | expected.keys()):
            mine, theirs = found.get(name, Counter()), expected.get(name, Counter())
            if mine.total() > theirs.total():
                more.append(name)
            elif mine.total() < theirs.total():
                less.append(name)
            elif mine != theirs:
                other.append(name)
        return more, less, other

    def _difference(self, world: int, expected: Content, *, midway: bool = False) -> Iterator[str]:
        found = content(self._tables, world)
        more, less, other = self._compared(world, expected)
        if midway and more:
            less, other = [], []
        for name in (*more, *less):
            there, wanted = found.get(name, Counter()), expected.get(name, Counter())
            yield f"{there.total()} {name}, not {wanted.total()}"
        for name in other:
            yield f"{name}: {', '.join(found[name] - expected[name])}"


def content(tables: Tables, world: int) -> Content:
    """What there is in a world, and how often, but for ids and times."""
    return {
        name: Counter(_projected(one) for one in rows)
        for part, data in zip(tables.components, tables.worlds[world], strict=True)
        for name, rows in collections(part, data).items()
    }


def _projected(row: dict[str, Any]) -> str:
    """A row without what differs from one run to the next anyway: ids, times, numbers in names."""
    return " ".join(
        f"{name}={re.sub(r'[0-9]+', '#', value) if isinstance(value, str) else value}"
        for name, value in row.items()
        if value is not None and name != "id" and not name.endswith("_id") and not _is_time(value)
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and int(value) in _EPOCHS


def _rank(cell: Cell) -> int:
    return _BADNESS.index(cell.consequence) if cell.consequence in _BADNESS else 0
