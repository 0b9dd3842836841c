"""Which modules belong to the code under test: those that are tied to it by imports, in either direction, and their packages.

A test process has loaded much more, whose memory has nothing to do with the scenario and would only be walked in vain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from troth.lab.edge.patch import application_modules, loaded

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+([^#\n]*)|import[ \t]+([^#\n]+))",
    re.MULTILINE,
)


def around(starts: Iterable[str]) -> tuple[ModuleType, ...]:
    """The modules that are connected with these, by name, through imports anywhere in their sources."""
    return _around(frozenset(starts), loaded())


@lru_cache(maxsize=8)
def _around(starts: frozenset[str], now: tuple[int, str, int]) -> tuple[ModuleType, ...]:
    del now  # a new module may connect others
    modules = {module.__name__: module for module in application_modules()}
    neighbours: dict[str, set[str]] = {name: set() for name in modules}
    for name, module in modules.items():
        for other in _imported(str(module.__file__), name) & modules.keys():
            neighbours[name].add(other)
            neighbours[other].add(name)
        package = module.__package__
        neighbours[name] |= {
            other for other in modules if package and other.startswith(f"{package}.")
        }
    reached: set[str] = set()
    frontier = [name for name in starts if name in modules]
    while frontier:
        name = frontier.pop()
        if name not in reached:
            reached.add(name)
            frontier.extend(neighbours[name])
    return tuple(module for name, module in modules.items() if name in reached)


@lru_cache(maxsize=4096)
def _imported(file: str, name: str) -> frozenset[str]:
    """Every module that the source may mean by an import, at its top or inside a function."""
    try:
        source = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found: set[str] = set()
    for base, taken, plain in _IMPORT.findall(source):
        if plain:
            found.update(one.split()[0] for one in plain.split(",") if one.strip())
            continue
        target = _absolute(base, name, is_package=Path(file).name == "__init__.py")
        names = [one.split()[0] for one in taken.strip("() \t\\").split(",") if one.strip()]
        found |= {target, *(f"{target}.{one}" for one in names)}
    return frozenset(found)


def _absolute(base: str, name: str, *, is_package: bool) -> str:
    dots = len(base) - len(base.lstrip("."))
    if not dots:
        return base
    parts = name.split(".")
    up = dots - 1 if is_package else dots
    return ".".join([*parts[: len(parts) - up], *filter(None, [base[dots:]])])
