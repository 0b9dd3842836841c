"""Which code a history has executed, and how far into each function: to tell, after an edit, which histories it cannot have changed.

A function is known by its module's file and its qualified name. It was executed up to some instruction. If an edited function begins with
the same instructions up to there, and nothing guards them otherwise, the history went through none of what is new. What runs when
a module is imported, and whatever that or a test could call by name, must be the same as a whole.
"""

from __future__ import annotations

import dis
import inspect
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Self

import msgspec

from troth.lab.edge.attempt import current, ours


class Shape(msgspec.Struct, frozen=True):
    """What a function does, instruction by instruction; of functions within it only that they are there."""

    head: str
    steps: tuple[str, ...]
    guards: tuple[tuple[int, ...], ...]
    """(first, last, handler, …) of what is guarded by `try` or `with`."""
    names: frozenset[str]
    """What it could call or reach by name."""


Shapes = dict[str, tuple[Shape, ...]]
"""By function. One name can mean several, of which nobody knows which was executed."""
Far = dict[str, int]
"""How many instructions of each function were executed at the most."""


class Trail:
    """Notes what is executed while the context lasts. Where somebody else traces (a debugger, coverage) it notes nothing, and says so."""

    def __init__(self) -> None:
        self.on = False
        self.startup: dict[CodeType, int] = {}
        self._far: dict[CodeType, int] = {}

    def __enter__(self) -> Self:
        self.on = sys.gettrace() is None
        if self.on:
            threading.settrace(self._called)
            sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        if self.on:
            sys.settrace(None)
            threading.settrace(None)

    def taken(self) -> dict[CodeType, int]:
        """What was executed since this was asked last."""
        found, self._far = self._far, {}
        return found

    def _called(self, frame: FrameType, event: str, _: Any) -> Any:
        if event != "call" or not ours(frame.f_code.co_filename):
            return None
        attempt = current.get()
        if attempt is None or attempt.responding:
            return None
        far = self._far if attempt.ordered else self.startup
        far.setdefault(frame.f_code, 0)

        def line(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line":
                mine = self._far if attempt.ordered else self.startup
                if frame.f_lasti >= mine.get(frame.f_code, 0):
                    mine[frame.f_code] = frame.f_lasti
            return line

        return line


# ── functions as data ────────────────────────────────────────────────────────────────────────────


def shapes(modules: Iterable[ModuleType]) -> Shapes:
    """Every function of the modules, as their sources have it now. What a module or a class does when it is made is among them."""
    found: dict[str, list[Shape]] = {}
    for module in modules:
        file = str(module.__file__)
        try:
            code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError):
            continue
        for one in _within(code):
            found.setdefault(key_of(one), []).append(shape(one))
    return {key: tuple(several) for key, several in found.items()}


def lines(modules: Iterable[ModuleType]) -> dict[str, int]:
    """Where every function of the modules begins."""
    found: dict[str, int] = {}
    for module in modules:
        file = str(module.__file__)
        try:
            code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError):
            continue
        found |= {key_of(one): one.co_firstlineno for one in _within(code)}
    return found


def moved(site: str, old: dict[str, int], new: dict[str, int]) -> str:
    """A call site as it is now, of a function that may begin at another line."""
    place, _, function = site.partition(" ")
    file, _, line = place.rpartition(":")
    above = [
        (first, key) for key, first in old.items()
        if first <= int(line or 0) and key.rpartition(":")[0].endswith(f"/{file}") and key.endswith(function)
    ]  # fmt: skip
    if not above:
        return site
    first, key = max(above)
    return f"{file}:{int(line) - first + new.get(key, first)} {function}"


def key_of(code: CodeType) -> str:
    """By what a function is known."""
    return f"{code.co_filename}:{code.co_qualname}"


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _within(one)


@lru_cache(maxsize=4096)
def shape(code: CodeType) -> Shape:
    """What a function does."""
    steps = list(dis.get_instructions(code))
    places = {one.offset: number for number, one in enumerate(steps)}
    jumps = {*dis.hasjrel, *dis.hasjabs}
    arguments = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    arguments += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    head = [code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_varnames[:arguments]]
    return Shape(
        repr(head),
        tuple(
            f"{one.opname} {places.get(one.argval) if one.opcode in jumps else _value(one.argval)}{_line(one, code)}"
            for one in steps
        ),
        tuple(
            (places[one.start], *(places.get(n, len(steps)) for n in (one.end, one.target)), one.depth, int(one.lasti))
            for one in dis._parse_exception_table(code)  # type: ignore[attr-defined]  # noqa: SLF001  (Python shows it nowhere else)
        ),
        frozenset(one.argval for one in steps if one.opname in _LOADS and isinstance(one.argval, str)),
    )  # fmt: skip


_LOADS = frozenset(["LOAD_NAME", "LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD", "LOAD_CONST", "LOAD_FROM_DICT_OR_GLOBALS"])  # fmt: skip


def _line(one: dis.Instruction, code: CodeType) -> str:
    """Where in the function it is: a history that is not executed again still says where it was."""
    line = None if one.positions is None else one.positions.lineno
    return (
        ""
        if line is None or not _makes_a_frame(code.co_flags)
        else f" @{line - code.co_firstlineno}"
    )


def _makes_a_frame(flags: int) -> bool:
    """Whether it is a function, not the body of a module or of a class."""
    return bool(flags & inspect.CO_NEWLOCALS)


def _value(value: Any) -> str:
    if isinstance(value, CodeType):
        return f"the function {value.co_qualname} {value.co_flags} {value.co_freevars}"
    if isinstance(value, frozenset):
        return f"frozenset {sorted(map(repr, value))}"
    return repr(value)


def extent(code: CodeType, offset: int) -> int:
    """How many instructions may have been executed, if the last line that began did so at this offset."""
    end, line = offset, None
    for start, stop, number in code.co_lines():
        if line is None and start <= offset < stop:
            line, end = number, stop
        elif line is not None and number == line:
            end = stop
        elif line is not None:
            break
    return sum(1 for one in dis.get_instructions(code) if one.offset < end)


def alike(old: tuple[Shape, ...], new: tuple[Shape, ...]) -> int | None:
    """How many instructions from the beginning on are the same; None if all are."""
    if old == new:
        return None
    if len(old) != 1 or len(new) != 1 or old[0].head != new[0].head:
        return 0
    before, after = old[0], new[0]
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(before.steps, after.steps, strict=False))))  # fmt: skip
    guarded = {*before.guards} ^ {*after.guards}
    return min([same, *(first for first, *_ in guarded)])


# ── what an edit has changed ─────────────────────────────────────────────────────────────────────


def changed(
    old: Shapes, new: Shapes, tests: frozenset[str], passed: frozenset[str], startup: Iterable[str]
) -> Far | None:
    """Per function that is not the same, how far it is; None if what runs outside of attempts may have changed.

    Args:
        old: the functions when the histories were executed.
        new: the functions now.
        tests: files that describe the scenario: their functions run outside of attempts.
        passed: functions that a test names only to hand them over.
        startup: functions that start-up code has executed.
    """
    edited = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    outside = {*startup}
    for every in (old, new):
        outside |= {
            key for key, several in every.items()
            if key.partition(":")[0] in tests or any(map(_at_import, several))
        }  # fmt: skip
        outside |= _named_by(every, outside - passed, passed)
    if edited & (outside - passed):
        return None
    return {
        key: distance
        for key in edited
        if (distance := alike(old.get(key, ()), new.get(key, ()))) is not None
    }


def _at_import(one: Shape) -> bool:
    """Whether it is the body of a module or of a class."""
    return not _makes_a_frame(int(one.head[1:].partition(",")[0]))


def _named_by(every: Shapes, start: set[str], passed: frozenset[str]) -> set[str]:
    """Functions that these could call, by name, and what those could call."""
    by_name: dict[str, list[str]] = {}
    for key in every:
        parts = key.rpartition(":")[2].rpartition("<locals>.")[2].split(".")
        for part in parts:
            by_name.setdefault(part, []).append(key)
    reached: set[str] = set()
    frontier = [key for key in start if key in every]
    while frontier:
        for one in every[frontier.pop()]:
            for name in one.names & by_name.keys():
                new = {key for key in by_name[name] if key not in reached and key not in passed}
                reached |= new
                frontier.extend(new)
    return reached
