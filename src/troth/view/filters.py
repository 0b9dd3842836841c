"""Which rows to list, once for all: the same filter is a URL's query, a command's flags, and a statement's parameters.

A filter is a frozen dataclass that derives from `Criteria`. A field's name is the word in the URL, and with hyphens the
command's option; a field that says `word="state"` in its metadata has another one. What a field may hold follows from its
type: text, a number, an id, yes or no, a moment (`Since`), one of an enumeration, or a set of these.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Self, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from troth.base import lengths
from troth.base.errors import UsageError

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Since:
    """From when on, as somebody wrote it: a moment (2026-11-24T08:00), or how long ago (2h), which stays true tomorrow.

    Raises `UsageError` for a text that is neither.
    """

    text: str = ""

    def __post_init__(self) -> None:
        try:
            self.at()
        except ValueError as error:
            msg = f"since: {error}"
            raise UsageError(msg) from None

    def at(self, now: datetime | None = None) -> datetime:
        """The moment; 1970 if nothing was said."""
        if not self.text:
            return BEGINNING
        return lengths.moment(self.text, now or datetime.now(UTC))

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Criteria:
    """The base of all filters; the defaults of the fields mean everything."""

    def to_query(self) -> list[tuple[str, str]]:
        """The filter as pairs of a URL's query, in the order of the fields; what is not filtered is left out."""
        return [
            (word, _written(each))
            for name, word, _, _ in _fields(type(self))
            for each in _each(getattr(self, name))
        ]

    @classmethod
    def from_query(cls, pairs: Iterable[tuple[str, str]]) -> Self:
        """The filter that a URL's query says. Words that are none of its fields, and empty ones, are left alone.

        Raises `UsageError` for a value that cannot be.
        """
        said: dict[str, list[str]] = {}
        for word, text in pairs:
            if text.strip():
                said.setdefault(word, []).append(text.strip())
        found: dict[str, Any] = {}
        for name, word, read, many in _fields(cls):
            if word in said:
                values = [_value(word, read, text) for text in said[word]]
                found[name] = frozenset(values) if many else values[-1]
        return cls(**found)

    def to_flags(self) -> list[str]:
        """The filter as options of the command that lists the same."""
        flags: list[str] = []
        for word, text in self.to_query():
            option = "--" + word.replace("_", "-")
            flags += [option] if text == "true" else [option, text]
        return flags

    def is_empty(self) -> bool:
        """Does it let everything through?"""
        return not self.to_query()


_Read = Callable[[str], Any]


def _fields(kind: type[Criteria]) -> tuple[tuple[str, str, _Read, bool], ...]:
    """Each field: its name, its word, how its text is read, and whether it is a set."""
    hints = get_type_hints(kind)
    found = []
    for each in fields(kind):
        assert each.default is not MISSING, f"{kind.__name__}.{each.name} needs a default"
        hint, many = _plain(hints[each.name])
        found.append((each.name, each.metadata.get("word", each.name), _reader(hint), many))
    return tuple(found)


def _plain(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in {Union, types.UnionType}:
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is frozenset:
        return get_args(hint)[0], True
    return hint, False


def _reader(hint: Any) -> _Read:
    return _yes_or_no if hint is bool else hint


def _yes_or_no(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("it is true or false")
    return text == "true"


def _value(word: str, read: _Read, text: str) -> Any:
    try:
        return read(text)
    except ValueError:
        if isinstance(read, type) and issubclass(read, Enum):
            may = "one of " + ", ".join(str(each.value) for each in read)
        else:
            may = _KINDS.get(read, "true or false")
        msg = f"{word} is {text!r}: it must be {may}"
        raise UsageError(msg) from None


_KINDS: dict[object, str] = {int: "a whole number", UUID: "an id"}


def _each(value: Any) -> list[Any]:
    if not value and not isinstance(value, int):
        return []
    if value is False:
        return []
    return sorted(value) if isinstance(value, frozenset) else [value]


def _written(value: Any) -> str:
    if value is True:
        return "true"
    return str(value.value) if isinstance(value, Enum) else str(value)
