"""Replacing functions for a while: at home, and wherever the application has imported them by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from inspect import getattr_static
from types import ModuleType
from typing import Any

from troth.lab.edge.attempt import ours


def application_modules() -> list[ModuleType]:
    """The modules that belong to the application: not Python's, not its packages', not the lab's."""
    return list(_application_modules(loaded()))


def loaded() -> tuple[int, str, int]:
    """What is different when a module was loaded, also if another was forgotten: how many there are, and the last."""
    last = next(reversed(sys.modules))
    return len(sys.modules), last, id(sys.modules[last])


@lru_cache(maxsize=1)
def _application_modules(loaded: tuple[int, str, int]) -> tuple[ModuleType, ...]:
    """Looked up again only when a module was loaded: this is asked before and after every run."""
    del loaded
    return tuple(
        module
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None)) and ours(file)
    )


@contextmanager
def replaced(substitutes: dict[tuple[Any, str], Any]) -> Iterator[None]:
    """Put substitutes for (owner, attribute) in place, and take them back."""
    originals = {home: getattr_static(*home) for home in substitutes}  # a classmethod as such
    # A module that one of them uses is everybody's: it is replaced there only.
    by_identity = {
        id(originals[home]): new
        for home, new in substitutes.items()
        if not isinstance(originals[home], ModuleType)
    }
    undo: list[tuple[Any, str, Any]] = []
    for module in application_modules():
        for name, value in list(vars(module).items()):
            if id(value) in by_identity:
                undo.append((module, name, value))
                setattr(module, name, by_identity[id(value)])
    for (owner, name), new in substitutes.items():
        undo.append((owner, name, originals[owner, name]))
        setattr(owner, name, new)
    try:
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)
