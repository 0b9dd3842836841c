"""Tables of an earlier search, for one after an edit: histories that the edit cannot have touched are not executed again.

What the code does after a history is kept with the functions that it has executed, and how far (`trail`). What an operation does to a
database is kept by the database's content and the operation, whatever the code. The search itself, with its promises, its limits and
its providers, is always made anew: it asks the same questions, and some of them are answered from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from troth.lab import trail
from troth.lab.database import Database, Done
from troth.lab.edge import clock
from troth.lab.model import Observation, Op
from troth.lab.world import encode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from troth.lab.tables import Tables

Opened = tuple[Op, ...]
Respond = Callable[[Op, str], Observation]


class KeptNode(msgspec.Struct, array_like=True):
    """A local history: what the code asked next (-1: it ended), where, and what was executed on the way from the one before."""

    op: int
    site: str
    far: dict[str, int]
    children: dict[bytes, int]
    failure: str = ""
    twice: bool = False


class KeptEffect(msgspec.Struct, array_like=True):
    """What an operation did to a database."""

    part: int
    opened: tuple[Any, ...]
    observation: tuple[Any, str]
    blockers: tuple[int, ...]


class File(msgspec.Struct):
    """All of it."""

    key: bytes = b""
    shapes: dict[str, tuple[trail.Shape, ...]] = {}
    lines: dict[str, int] = {}
    startup: tuple[str, ...] = ()
    ops: tuple[Any, ...] = ()
    nodes: list[KeptNode] = []
    roots: dict[int, int] = {}
    issued: dict[int, list[tuple[int, int]]] = {}
    effects: dict[bytes, KeptEffect] = {}
    parts: list[bytes] = []
    snapshots: dict[int, Any] = {}


class Ended(msgspec.Struct, frozen=True):
    """How a history ended that was not executed again."""

    failure: str
    twice: bool


class Recall:
    """What is known from the last search of a scenario, and what is to be known in the next one.

    Args:
        file: where it is kept.
        key: all that decides what the code does, but for its functions.
        modules: the code.
        tests: files that describe the scenario.
        passed: functions that the scenario hands over.
    """

    def __init__(
        self,
        file: Path,
        key: bytes,
        modules: tuple[ModuleType, ...],
        tests: frozenset[str],
        passed: frozenset[str],
    ) -> None:
        self._path = file
        self._key = key
        self._shapes = trail.shapes(modules)
        self._lines = trail.lines(modules)
        self._effects: dict[bytes, KeptEffect] = {}
        self._parts: dict[bytes, int] = {}
        self._homes: dict[int, Database] = {}
        self._kept = _read(file)
        self._edited = None
        if self._kept.key == key:
            self._edited = trail.changed(
                self._kept.shapes, self._shapes, tests, passed, self._kept.startup
            )
        if self._edited is not None:
            clock.names.recall(self._kept.issued)

    # ── asked by a search ───────────────────────────────────────────────────────────────────────

    def replay(self, actor: int, respond: Respond) -> Ended | None:
        """Ask what the code asked, along what it is told; None if it has not come this way, or might go another way now."""
        number = self._kept.roots.get(actor)
        while self._edited is not None and number is not None:
            node = self._kept.nodes[number]
            if any(extent > self._edited.get(key, extent) for key, extent in node.far.items()):
                return None
            if node.op < 0:
                return Ended(node.failure, node.twice)
            site = trail.moved(node.site, self._kept.lines, self._lines)
            seen = respond(_op(self._kept.ops[node.op]), site)
            number = node.children.get(_digest(seen.value, seen.error))
        return None

    def effect(
        self, database: Database, part: bytes, mine: Opened, beside: tuple[Opened, ...], op: Op
    ) -> Done | None:
        """What the operation did the last time; None if nobody knows."""
        found = self._kept.effects.get(_place(database, part, mine, beside, op))
        if found is None:
            return None
        after = self._kept.parts[found.part]
        if found.part in self._kept.snapshots:
            database.adopt(after, _deep(self._kept.snapshots[found.part]))
        observation = Observation(*_deep(found.observation))
        done = Done(after, tuple(map(_op, found.opened)), observation, found.blockers)
        self.learn(database, part, mine, beside, op, done)
        return done

    def learn(
        self,
        database: Database,
        part: bytes,
        mine: Opened,
        beside: tuple[Opened, ...],
        op: Op,
        done: Done,
    ) -> None:
        """An operation was done: it will be known."""
        number = self._parts.setdefault(done.part, len(self._parts))
        self._homes[number] = database
        seen = (done.observation.value, done.observation.error)
        opened = tuple(map(_plain, done.opened))
        self._effects[_place(database, part, mine, beside, op)] = KeptEffect(
            number, opened, seen, done.blockers
        )

    # ── kept for the next one ───────────────────────────────────────────────────────────────────

    def keep(self, tables: Tables) -> None:
        """Write down what this search knows. Of code whose memory or clock makes a difference, no histories."""
        file = File(
            effects=self._effects,
            parts=list(self._parts),
            snapshots={
                number: self._homes[number].snapshot(part) for part, number in self._parts.items()
            },
        )
        traced = tables.trail is not None and tables.trail.on
        if traced and not tables.remembers and not tables.derived:
            self._with_histories(file, tables)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.msgpack.encode(file))
        new.replace(self._path)

    def _with_histories(self, file: File, tables: Tables) -> None:
        assert tables.trail is not None
        far = dict(self._reached(tables))
        file.key, file.shapes, file.lines = self._key, self._shapes, self._lines
        file.startup = tuple(sorted(map(trail.key_of, tables.trail.startup)))
        file.ops = tuple(_plain(tables.ops[number]) for number in range(len(tables.ops)))
        file.issued = clock.names.issued()
        places: dict[int, int] = {}
        for number, node in enumerate(tables.nodes):
            fresh = node.root[1] == 0 and node.memory == 0
            if not node.known or number not in far or not fresh:
                continue
            places[number] = len(file.nodes)
            op = -1 if node.op is None else node.op
            failure = tables.failure if node.ends else ""
            file.nodes.append(KeptNode(op, node.site, far[number], {}, failure, number in tables.twice))  # fmt: skip
            if node.parent < 0:
                file.roots[node.root[0]] = places[number]
            elif node.parent in places:
                seen = tables.observations[node.observation]
                parent = file.nodes[places[node.parent]]
                parent.children[_digest(seen.value, seen.error)] = places[number]

    def _reached(self, tables: Tables) -> Iterator[tuple[int, Far]]:
        """Per history, what was executed in this search or in the one before; not if a source says something else than what ran."""
        old = self._known(tables)
        for number in range(len(tables.nodes)):
            if number in tables.reached:
                ran = tables.reached[number]
                if all(
                    self._shapes.get(trail.key_of(code)) == (trail.shape(code),) for code in ran
                ):
                    yield number, {trail.key_of(code): trail.extent(code, at) for code, at in ran.items()}  # fmt: skip
            elif number in old:
                yield number, old[number]

    def _known(self, tables: Tables) -> dict[int, Far]:
        """What the last search knew of the histories of this one."""
        found: dict[int, Far] = {}
        at: dict[int, int | None] = {}
        for number, node in enumerate(tables.nodes):
            if node.parent < 0:
                at[number] = self._kept.roots.get(node.root[0]) if node.root[1] == 0 else None
            else:
                above, seen = at[node.parent], tables.observations[node.observation]
                digest = _digest(seen.value, seen.error)
                at[number] = None if above is None else self._kept.nodes[above].children.get(digest)
            if (mine := at[number]) is not None and self._edited is not None:
                found[number] = self._kept.nodes[mine].far
        return found


Far = dict[str, int]


def _read(file: Path) -> File:
    try:
        return msgspec.msgpack.decode(file.read_bytes(), type=File)
    except (OSError, msgspec.MsgspecError):
        return File()


def _digest(*what: object) -> bytes:
    return hashlib.sha256(encode(list(what))).digest()


def _place(
    database: Database, part: bytes, mine: Opened, beside: tuple[Opened, ...], op: Op
) -> bytes:
    groups = [[*map(_plain, one)] for one in (mine, *beside)]
    return _digest(database.name, database.describe(), sorted(database.ignored), part, groups, _plain(op))  # fmt: skip


def _plain(op: Op) -> list[object]:
    return [op.kind, op.target, op.text, op.params, op.handle]


def _op(plain: Any) -> Op:
    kind, target, text, params, handle = plain
    return Op(kind, target, text, _deep(params), handle)


def _deep(value: Any) -> Any:
    """As operations and observations are made: of tuples."""
    if isinstance(value, list | tuple):
        return tuple(map(_deep, value))
    return {key: _deep(one) for key, one in value.items()} if isinstance(value, dict) else value
