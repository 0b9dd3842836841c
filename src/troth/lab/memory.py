"""What a process remembers from one attempt to the next: found by comparing, put back by copying.

A warm process is a different process. Before each run its memory is set to what the search asks for, after it the memory is
compared with all that were seen before. Plain containers and values (of modules, closures, objects of the application's
classes) can be put back; anything else that changed refuses the verdict and is named.
"""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

from troth.lab.variables import Variable, Variables
from troth.lab.written import CONTAINERS, DEPTH, attributes_of, is_


class Carried(Exception):
    """Memory that the lab can see change but cannot put back."""


class Memory:
    """The memory of the process that the application runs in.

    Args:
        roots: what is run, and further objects to look into, by name (an app's `state`). Their modules, and those around
            them, are what is looked at.
        ignored: names of variables to leave alone.
    """

    def __init__(self, roots: dict[str, object], ignored: set[str]) -> None:
        self._variables = Variables(roots, ignored)
        self._ids: dict[str, int] = {}
        self._seen: list[dict[str, tuple[str, Any]]] = []
        self._last: tuple[dict[str, Variable], list[str], int] | None = None
        self._at = self.capture()

    def __len__(self) -> int:
        return len(self._seen)

    def capture(self) -> int:
        """The id of the memory as it is now; 0 is the memory at the beginning.

        Raises:
            Carried: something changed that could not be put back.
        """
        variables = self._variables.all()
        texts = [one.text() for one in variables.values()]
        if self._last is not None and self._last[0] is variables and self._last[1] == texts:
            self._at = self._last[2]
            return self._at
        digest = dict(zip(variables, texts, strict=True))
        text = repr(sorted(digest.items()))
        number = self._ids.get(text)
        if number is None:
            self._check(digest)
            number = self._ids[text] = len(self._seen)
            self._seen.append({
                name: (now, None if "<" in now else _copied(variables[name].value, DEPTH)) for name, now in digest.items()
            })  # fmt: skip
        self._at, self._last = number, (variables, texts, number)
        return number

    def _check(self, digest: dict[str, str]) -> None:
        first = self._seen[0] if self._seen else {}
        for name, now in digest.items():
            before = first.get(name, (now, None))[0]
            if before != now and ("<" in now or "<" in before):
                raise Carried(f"{name}: {_short(before)} became {_short(now)}")

    def changed(self, number: int) -> bool:
        """Whether it is not now as when `capture` returned this id."""
        return any(True for _ in self._different(number))

    def restore(self, number: int) -> None:
        """Make the process remember what it did when `capture` returned this id."""
        if number == self._at:
            return
        for variable, saved in list(self._different(number)):
            _put(variable, saved)
        self._at = number

    def _different(self, number: int) -> Any:
        wanted = self._seen[number]
        for name, variable in self._variables.all().items():
            if name in wanted and wanted[name][0] != variable.text():
                yield variable, wanted[name][1]

    def text(self, number: int) -> str:
        """All that is remembered, as text; of the memory at the beginning, nothing."""
        return "" if number == 0 else "; ".join(now for now, _ in self._seen[number].values())

    def beginning(self) -> str:
        """All that is remembered at the beginning, as text; but for the environment."""
        return "; ".join(
            f"{name} {now}" for name, (now, _) in self._seen[0].items() if name != "os.environ"
        )

    def difference(self, number: int) -> list[str]:
        """What differs from the beginning, in words."""
        first, other = self._seen[0], self._seen[number]
        return [
            f"{name} = {_short(now)}"
            for name, (now, _) in other.items()
            if first.get(name, ("", None))[0] != now
        ]


def _put(variable: Variable, saved: Any) -> None:
    wanted, mine = _put_back(saved), variable.value
    if is_(mine, CONTAINERS) and type(mine) is type(wanted):
        _refill(mine, wanted)
    elif wanted is not mine:
        variable.bind(wanted)


def _refill(container: Any, content: Any) -> Any:
    """Replace what a container holds. It stays the same container, with its kind, default factory and length."""
    held = list(content.items()) if isinstance(content, dict) else list(content)
    container.clear()
    if isinstance(container, list | deque):
        container.extend(held)
    else:
        container.update(held)
    return container


class _Kept:
    """An object of the application and what its attributes were. It is put back in place: others may hold it."""

    def __init__(self, owner: object, attributes: dict[str, Any]) -> None:
        self.owner = owner
        self.attributes = attributes


def _copied(value: Any, depth: int) -> Any:
    """A copy down to what cannot change, and to objects that are nobody's memory (functions, clients)."""
    if depth == 0:
        return value
    if is_(value, dict):
        return _refill(copy.copy(value), {k: _copied(v, depth - 1) for k, v in value.items()})
    if is_(value, (list, deque)):
        return _refill(copy.copy(value), [_copied(item, depth - 1) for item in value])
    if is_(value, set):
        return copy.copy(value)
    if type(value) is tuple:
        return tuple(_copied(item, depth - 1) for item in value)
    attributes = attributes_of(value)
    return value if attributes is None else _Kept(value, _copied(dict(attributes), depth - 1))


def _put_back(saved: Any) -> Any:
    """The value that a copy stands for; the copy stays as it is, for the next time."""
    if isinstance(saved, _Kept):
        attributes = _put_back(saved.attributes)
        if hasattr(saved.owner, "__dict__"):
            vars(saved.owner).clear()
        for name, value in attributes.items():
            object.__setattr__(saved.owner, name, value)
        return saved.owner
    if isinstance(saved, dict):
        return _refill(copy.copy(saved), {k: _put_back(v) for k, v in saved.items()})
    if isinstance(saved, list | deque):
        return _refill(copy.copy(saved), [_put_back(item) for item in saved])
    if type(saved) is tuple:
        return tuple(_put_back(item) for item in saved)
    return copy.copy(saved) if isinstance(saved, set) else saved


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"
