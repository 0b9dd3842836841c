"""Where a process keeps what it remembers: the variables of its modules, of what its functions hold, and of its classes.

To walk there takes long in a large program, and it is asked before and after every run. So the places are found once, and
again only when a name was bound anew; and what cannot change while it is the same object is written once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType, ModuleType
from typing import Any, cast

from troth.lab.edge.attempt import ours
from troth.lab.reach import around
from troth.lab.written import CONTAINERS, DEPTH, SCALARS, is_, is_ours, is_steady, written

_EMPTY = object()
_OF_PYTEST = {"pytestmark"}
"""Attributes of functions that say nothing to the application."""


class Variable:
    """A value with a way to change it, in place where others may hold it."""

    def __init__(self, name: str, value: object, rebind: Callable[[Any], None] | None) -> None:
        self.name = name
        self.value = value
        self.steady = is_steady(value)
        self._rebind = rebind
        self._shallow: list[object] | None = None
        self._text: str | None = None

    def text(self) -> str:
        """What it holds now."""
        if self._text is not None and (self.steady or self._is_the_same()):
            return self._text
        self._text = written(self.value, DEPTH)
        return self._text

    def _is_the_same(self) -> bool:
        """Whether a container holds the same objects as before, none of which can change."""
        if not is_(self.value, CONTAINERS):
            return False
        now = _members(self.value)
        before, self._shallow = (
            self._shallow,
            now if all(map(is_steady, now)) else None,
        )
        if before is None or self._shallow is None or len(before) != len(now):
            return False
        return all(one is other for one, other in zip(before, now, strict=True))

    def bind(self, value: object) -> None:
        """Another object takes its place, if it has a name by which to be found."""
        if self._rebind is not None:
            self._rebind(value)


class Attributes(Variable):
    """Those of a function. There are thousands, and nearly all have none."""

    def text(self) -> str:
        held = cast("dict[str, object]", self.value)
        return super().text() if held and held.keys() - _OF_PYTEST else "{}"


def _members(container: Any) -> list[object]:
    return [*container, *container.values()] if isinstance(container, dict) else [*container]


class Variables:
    """All variables of the program under test.

    Args:
        roots: what is run, and further objects to look into, by name. Their modules, and those around them, are looked at.
        ignored: names of variables to leave alone.
    """

    def __init__(self, roots: dict[str, object], ignored: set[str]) -> None:
        self._roots = roots
        self._homes = {str(getattr(one, "__module__", "")) for one in roots.values()}
        self._ignored = ignored
        self._modules: tuple[ModuleType, ...] = ()
        self._scopes: list[Mapping[str, object]] = []
        self._functions: list[FunctionType] = []
        self._bound: list[object] = []
        self._found: dict[str, Variable] = {}

    def all(self) -> dict[str, Variable]:
        """Each by its name; the same dictionary as long as no name was bound anew."""
        modules = around(self._homes)
        if modules is self._modules and self._same():
            return self._found
        self._modules = modules
        self._scopes, self._functions = [], []
        self._found = {one.name: one for one in self._walk()}
        self._bound = list(self._bindings())
        return self._found

    def _same(self) -> bool:
        """Whether every name means the object that it meant."""
        before = iter(self._bound)
        missing = object()
        if any(one is not next(before, missing) for one in self._bindings()):
            return False
        return next(before, missing) is missing

    def _bindings(self) -> Iterator[object]:
        for scope in self._scopes:
            yield from scope.values()
        for function in self._functions:
            yield function.__defaults__
            yield function.__kwdefaults__
            for cell in function.__closure__ or ():
                try:
                    yield cell.cell_contents
                except ValueError:  # not assigned yet
                    yield _EMPTY

    def _walk(self) -> Iterator[Variable]:
        # What several places hold is one thing, and classes lead back to themselves
        seen: set[int] = set()
        for module in self._modules:
            self._scopes.append(vars(module))
            for name, value in list(vars(module).items()):
                if not name.startswith(("__", "@")) and not is_(value, ModuleType):
                    rebind = partial(setattr, module, name)
                    yield from self._of(f"{module.__name__}.{name}", value, rebind, seen)
        for name, value in self._roots.items():
            yield from self._of(name, value, None, seen)

    def _of(
        self, name: str, value: object, rebind: Callable[[Any], None] | None, seen: set[int]
    ) -> Iterator[Variable]:
        if name in self._ignored:
            return
        if not is_(value, SCALARS):
            if id(value) in seen:
                return
            seen.add(id(value))
        if is_(value, FunctionType):
            yield from self._of_function(name, cast("FunctionType", value), seen)
        elif is_(value, type):
            yield from self._of_class(name, cast("type", value), seen)
        else:
            yield Variable(name, value, rebind)

    def _of_function(self, name: str, function: FunctionType, seen: set[int]) -> Iterator[Variable]:
        """What a function of the application holds: attributes, mutable defaults, closure."""
        if not ours(function.__code__.co_filename):
            return
        self._functions.append(function)
        yield Attributes(f"{name}.__dict__", vars(function), None)
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        for number, default in enumerate(defaults):
            if is_(default, CONTAINERS):
                yield from self._of(f"{name}, default {number}", default, None, seen)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for cell_name, cell in cells:
            try:
                content = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            rebind = partial(setattr, cell, "cell_contents")
            yield from self._of(f"{name}.{cell_name}", content, rebind, seen)

    def _of_class(self, name: str, kind: type, seen: set[int]) -> Iterator[Variable]:
        """What a class of the application keeps for all its instances, and what its methods hold."""
        if not is_ours(kind) or issubclass(kind, enum.Enum):
            return
        self._scopes.append(vars(kind))
        for attribute, content in list(vars(kind).items()):
            method = getattr(content, "__func__", content)  # of a classmethod or staticmethod
            kept = not attribute.startswith("__") and is_(content, SCALARS + CONTAINERS)
            if kept or is_(method, FunctionType):
                rebind = partial(setattr, kind, attribute)
                yield from self._of(f"{name}.{attribute}", method, rebind, seen)
