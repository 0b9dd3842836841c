"""A verdict that is kept: HOLDS need not be found again while nothing has changed on which it depends.

What it depends on is everything that decides what the code does and what it is asked: the sources of all modules that are tied to
the scenario by imports, what these remember before the first request, what the world begins with, the models of the providers, the
promises, the limits, the environment, the packages that are installed, Python, and the lab itself. Which functions were reached would
be a smaller key and a wrong one: a constant decides, too, and nobody calls it.

Files that the code reads are not part of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

import msgspec

from troth.lab.reach import around
from troth.lab.show.asked import asked
from troth.lab.show.document import Map, Numbers
from troth.lab.trail import key_of
from troth.lab.verdict import Verdict
from troth.lab.written import DEPTH, written

if TYPE_CHECKING:
    from troth.lab.model import State
    from troth.lab.recall import Recall
    from troth.lab.scenario import Scenario
    from troth.lab.steps import Limits
    from troth.lab.tables import Tables

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_OF_THE_SHELL = re.compile(r"PYTEST_|_$|SHLVL$|PWD$|OLDPWD$|COLUMNS$|LINES$|TERM|SSH_")


class Holding(msgspec.Struct, frozen=True):
    """A verdict HOLDS in a file."""

    fingerprint: str
    found: str
    model: tuple[str, ...]
    unexplored: tuple[str, ...]
    warnings: tuple[str, ...]
    confirmed: str
    counts: Numbers
    map: Map | None


class Reuse:
    """Where verdicts are kept from run to run, one file per scenario.

    Args:
        folder: made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, scenario: Scenario, limits: Limits, fingerprint: str) -> Verdict | None:
        """The verdict, if one is kept that was found with this fingerprint."""
        try:
            kept = msgspec.json.decode(self._file(scenario).read_bytes(), type=Holding)
        except (OSError, msgspec.MsgspecError):
            return None
        if kept.fingerprint != fingerprint:
            return None
        return Verdict(
            "HOLDS",
            scenario.name,
            model=kept.model,
            unexplored=kept.unexplored,
            closed=True,
            kept=tuple(scenario.promises),
            accepted=tuple(f"{name}, because {why}" for name, _, why in scenario.accepted),
            warnings=kept.warnings,
            counts=kept.counts,
            asked=asked(scenario, limits, frozenset(), closed=True),
            map=kept.map,
            test=scenario.test,
            confirmed=f"{kept.confirmed}; found on {kept.found}, and nothing has changed since on which it depends",
        )

    def keep(self, scenario: Scenario, fingerprint: str, found: Verdict) -> None:
        """Keep a verdict if it is HOLDS; any other takes the place of the one that was kept."""
        file = self._file(scenario)
        if found.word != "HOLDS":
            file.unlink(missing_ok=True)
            return
        kept = Holding(
            fingerprint,
            datetime.now(UTC).strftime("%Y-%m-%d"),
            found.model,
            found.unexplored,
            found.warnings,
            found.confirmed,
            found.counts,
            found.map,
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(kept))
        new.replace(file)

    def recall(self, scenario: Scenario, tables: Tables) -> Recall:
        """What the last search of this scenario knew, as far as it is still true."""
        from troth.lab.recall import Recall

        described: list[object] = [type(one) for one in scenario.providers]
        for promise in scenario.promises:
            described += [promise.holds, promise.step]
        described += [actor.again for actor in scenario.actors]
        modules = around(_homes(scenario))
        homes = {str(getattr(one, "__module__", "")) for one in described}
        tests = {
            str(one.__file__)
            for one in modules
            if one.__name__ in homes
            or one.__name__.rpartition(".")[2].startswith(("conftest", "test_"))
        }
        passed = {
            key_of(one.__code__)
            for actor in scenario.actors
            for one in actor.call.roots().values()
            if isinstance(one, FunctionType)
        }
        key = hashlib.sha256(repr(list(_of_the_code(scenario, tables))).encode()).digest()
        file = self._file(scenario).with_suffix(".tables")
        return Recall(file, key, modules, frozenset(tests), frozenset(passed))

    def _file(self, scenario: Scenario) -> Path:
        name = hashlib.sha256((scenario.test or scenario.name).encode()).hexdigest()[:16]
        return self._folder / f"{name}.json"


def _of_the_code(scenario: Scenario, tables: Tables) -> Iterator[object]:
    """What decides, beside its own functions, what the code does after what it has seen."""
    yield sys.version
    yield hashlib.sha256(_of_the_lab()).digest()
    yield _installed()
    yield _environment()
    yield tables.habits
    yield _ADDRESS.sub("", tables.memory.beginning())
    yield [(part.name, getattr(part, "host", "")) for part in scenario.components()]
    yield [(type(one).__name__, getattr(one, "path", "")) for one in scenario.databases]
    yield sorted(scenario.ignored)
    yield [actor.call.asked() for actor in scenario.actors]


def fingerprint_of(scenario: Scenario, limits: Limits, tables: Tables, start: State) -> str:
    """What the verdict depends on, as one value; the same only if nothing of it has changed."""
    whole = hashlib.sha256()
    for part in _parts(scenario, limits, tables, start):
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def _parts(scenario: Scenario, limits: Limits, tables: Tables, start: State) -> Iterator[bytes]:
    yield sys.version.encode()
    yield _of_the_lab()
    yield _installed()
    yield repr(limits).encode()
    yield repr(asked(scenario, limits, frozenset(), closed=False)).encode()
    yield repr(sorted(scenario.hidden)).encode()
    yield repr([*_held(scenario)]).encode()
    yield repr(_environment()).encode()
    for component in tables.components:
        yield getattr(component, "describe", str)().encode()
    yield from tables.worlds[start.world]
    yield _ADDRESS.sub("", tables.memory.beginning()).encode()
    yield from _sources(_homes(scenario))


def _held(scenario: Scenario) -> Iterator[str]:
    """What promises and callers look at beside their arguments."""
    functions = [one for promise in scenario.promises for one in (promise.holds, promise.step)]
    for one in (*functions, *(actor.again for actor in scenario.actors)):
        for cell in getattr(one, "__closure__", None) or ():
            yield _ADDRESS.sub("", written(cell.cell_contents, DEPTH))


def _homes(scenario: Scenario) -> set[str]:
    """The modules in which the scenario is described and its code begins."""
    described: list[object] = [type(one) for one in scenario.providers]
    described += scenario.migrations
    for promise in scenario.promises:
        described += [promise.holds, promise.step]
    for actor in scenario.actors:
        described += [actor.again, *actor.call.roots().values()]
    return {str(getattr(one, "__module__", type(one).__module__)) for one in described}


def _sources(homes: Iterable[str]) -> Iterator[bytes]:
    for module in sorted(around(homes), key=lambda one: one.__name__):
        yield module.__name__.encode()
        yield Path(str(module.__file__)).read_bytes()


@cache
def _of_the_lab() -> bytes:
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return b"".join(one.read_bytes() for one in files)


@cache
def _installed() -> bytes:
    """Every package with its version, as the names of their folders say it."""
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return "\n".join(
        sorted(one.name for place in places for one in Path(place).glob("*.dist-info"))
    ).encode()


def _environment() -> list[tuple[str, str]]:
    return sorted(
        (name, value) for name, value in os.environ.items() if not _OF_THE_SHELL.match(name)
    )
