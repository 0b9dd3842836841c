from __future__ import annotations

import functools
import itertools
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import ClassVar
from uuid import uuid4

import pytest

from troth.lab.edge import cache
from troth.lab.memory import Carried, Memory

things: dict[str, list[int]] = {"a": [1]}
queue: deque[int] = deque([1, 2])
names: set[str] = {"x"}
number = 1


grouped: defaultdict[str, list[int]] = defaultdict(list)
last: deque[int] = deque(maxlen=2)


@dataclass(slots=True)
class Slotted:
    open: bool = False


slotted = Slotted()


def remembers(item, memo={}):  # noqa: B006  (a mistake that people make)
    memo[item] = True
    return len(memo)


class Service:
    calls = 0
    seen: ClassVar[list[str]] = []

    def __init__(self):
        self.open = {"circuit": False}
        self.failures = 0


service = Service()


def closure():
    inside = []

    def handler():
        inside.append(1)
        return len(inside)

    return handler


handler = closure()


@functools.lru_cache
def squared(n):
    return n * n


def change():
    global number
    number += 1
    things["a"].append(2)
    things["b"] = []
    queue.append(3)
    names.add("y")
    service.open["circuit"] = True
    service.failures = 3
    Service.calls += 1
    Service.seen.append("z")
    handler()
    grouped["a"].append(1)
    last.extend((1, 2, 3))
    slotted.open = True
    remembers("x")
    remembers.calls = 1


def state():
    return (
        {k: list(v) for k, v in grouped.items()},
        list(last),
        slotted.open,
        dict(remembers.__defaults__[0]),
        dict(vars(remembers)),
        number,
        {k: list(v) for k, v in things.items()},
        list(queue),
        sorted(names),
        dict(service.open),
        service.failures,
        Service.calls,
        list(Service.seen),
        list(handler.__closure__[0].cell_contents),
    )


@pytest.fixture
def memory():
    made = Memory({"change": change}, set())
    yield made
    made.restore(0)


class Base:
    def __init__(self):
        self.inherited = []


class Derived(Base):
    """`super()` makes every method hold its own class."""

    def __init__(self):
        super().__init__()
        self.own = []

    @classmethod
    def make(cls, memo=[]):  # noqa: B006  (a mistake that people make)
        memo.append(1)
        return cls()


derived = Derived()


def test_a_class_that_leads_back_to_itself(memory):
    derived.inherited.append(1)
    Derived.make()
    warm = memory.capture()
    assert len(memory.difference(warm)) == 2
    memory.restore(0)
    assert derived.inherited == []
    assert Derived.make.__func__.__defaults__ == ([],)


def test_nothing_changes_without_a_change(memory):
    assert memory.capture() == 0
    assert memory.capture() == 0


def test_every_kind_of_memory_is_seen_and_put_back(memory):
    fresh = state()
    change()
    warm_state, warm = state(), memory.capture()
    assert warm != 0
    memory.restore(0)
    assert state() == fresh
    memory.restore(warm)
    assert state() == warm_state


def test_the_same_memory_has_the_same_number(memory):
    change()
    warm = memory.capture()
    memory.restore(0)
    change()
    assert memory.capture() == warm


def test_containers_are_put_back_in_place(memory):
    """Somebody may hold them."""
    held, owner = things, service
    change()
    memory.capture()
    memory.restore(0)
    assert things is held
    assert service is owner
    assert grouped.default_factory is list
    assert last.maxlen == 2


def test_a_copy_is_not_changed_by_what_comes_later(memory):
    change()
    warm, then = memory.capture(), state()
    change()
    memory.capture()
    memory.restore(warm)
    assert state() == then


def test_the_difference_names_the_variable(memory):
    names.add("y")
    assert any("test_memory.names" in line for line in memory.difference(memory.capture()))


def test_a_cache_is_put_back():
    with cache.caught():
        memory = Memory({"change": change}, set())
        squared(3)
        warm = memory.capture()
        memory.restore(0)
        assert not squared.entries
        memory.restore(warm)
        assert list(squared.entries.values()) == [9]
        memory.restore(0)
    assert squared.cache_info().currsize == 0, "the real cache was not touched"


class Holder:
    def __init__(self):
        self.counter = itertools.count()


holder = Holder()


def test_what_cannot_be_put_back_is_named(memory):
    next(holder.counter)
    with pytest.raises(Carried, match="holder"):
        memory.capture()
    holder.counter = itertools.count()


class Library:
    """Stands for a class of some package: not the application's, and not known."""

    def __init__(self):
        self.entries = {}


Library.__module__ = "some_package.caches"
foreign = Library()
turns = itertools.cycle("ab")


def test_a_change_inside_a_librarys_object_is_named(memory):
    foreign.entries["a"] = 1
    with pytest.raises(Carried, match="foreign"):
        memory.capture()
    foreign.entries.clear()


def test_an_iterator_that_moved_is_named(memory):
    next(turns)
    with pytest.raises(Carried, match="turns"):
        memory.capture()
    next(turns)


def test_plain_values_of_the_standard_library_are_put_back(memory):
    things["when"] = [
        datetime(2030, 1, 2, 3, tzinfo=UTC),
        date(2030, 1, 2),
        Decimal("1.5"),
        uuid4(),
    ]
    warm = memory.capture()
    memory.restore(0)
    assert "when" not in things
    memory.restore(warm)
    assert things["when"][2] == Decimal("1.5")
    assert "2030-01-02" in memory.text(warm)


def test_what_is_ignored_is_left_alone():
    memory = Memory({"change": change}, {f"{__name__}.names"})
    names.add("kept")
    assert memory.capture() == 0
    names.discard("kept")


class Lazy:
    """As Django's settings: whoever asks what it is wakes it."""

    @property
    def __class__(self):
        raise LookupError("it is not configured")


lazy = Lazy()


def test_lazy_objects_are_not_asked_what_they_are(memory):
    before = memory.capture()
    things["a"].append(5)
    assert memory.capture() != before
    memory.restore(before)


def counted() -> None:
    """A function that may remember by an attribute."""


def test_the_first_attribute_of_a_function_is_noticed():
    """Where there is nothing yet, nobody looks each time; that there is something now must be seen all the same."""
    memory = Memory({"counted": counted}, set())
    assert memory.capture() == 0
    counted.calls = 1
    try:
        assert memory.capture() == 1
        counted.calls = 2
        assert memory.capture() == 2
        memory.restore(0)
        assert not vars(counted)
        memory.restore(1)
        assert counted.calls == 1
    finally:
        vars(counted).clear()
    assert memory.capture() == 0


class Known:
    names: ClassVar[list[str]] = ["ada"]


def test_a_list_in_the_place_of_a_list_is_noticed():
    """Both are containers of the same things until one of them gets another."""
    memory = Memory({"Known": Known}, set())
    before, Known.names = Known.names, ["ada"]
    try:
        assert memory.capture() == 0, "as text they are the same"
        Known.names.append("bob")
        assert memory.capture() == 1
        memory.restore(0)
        assert Known.names == ["ada"]
    finally:
        Known.names = before
