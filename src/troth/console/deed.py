"""What a form needs to know of an act: its fields, what is shown before, how it is done, and what is said after.

What the act means for what troth promises, who may and what is recorded is in the desk's table (`command.acts`); a `Deed`
is the rest. To add one: a `Deed` in a file of `deeds/`, and its name in `deeds/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

from troth.base import codec
from troth.base.errors import UsageError
from troth.command.model import Author
from troth.store.tx import Tx
from troth.view.paging import Count

if TYPE_CHECKING:
    from troth.console.site import Site


class Given(dict[str, str]):
    """What a form says, or an address that leads to one: texts by their names."""

    def id(self, name: str) -> UUID:
        """Raises `UsageError`."""
        try:
            return UUID(self[name])
        except (KeyError, ValueError):
            raise UsageError(f"{name} is {self.get(name)!r}: it must be an id") from None

    def text(self, name: str) -> str | None:
        """None for what is empty."""
        return self.get(name, "").strip() or None

    def needed(self, name: str) -> str:
        """Raises `UsageError` for what is empty."""
        found = self.text(name)
        if found is None:
            raise UsageError(f"{name.replace('_', ' ')} is missing")
        return found

    def flag(self, name: str) -> bool:
        """Was it ticked?"""
        return self.get(name) == "true"

    def json(self, name: str) -> Any:
        """A value that is written as JSON. Raises `UsageError`."""
        text = self.get(name, "")
        try:
            return codec.decode(text.encode())
        except ValueError as error:
            raise UsageError(f"{name.replace('_', ' ')} is not JSON: {error}") from None

    def number(self, name: str) -> int:
        """Raises `UsageError`."""
        try:
            return int(self[name])
        except (KeyError, ValueError):
            raise UsageError(f"{name} is {self.get(name)!r}: it must be a whole number") from None


@dataclass(frozen=True, slots=True)
class Field:
    """Something that the form asks for. *choices*: of a `choice`, each a value and what it is called. *needed*: not empty."""

    name: str
    label: str
    kind: Literal["text", "json", "flag", "choice"] = "text"
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    default: str = ""
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """What an act would do, for its template. *mark*: another one, if that has changed since it was shown. *count*: to how
    many things; if there are more when it is done, nothing is.
    """

    told: Mapping[str, Any]
    mark: str = ""
    count: Count | None = None


Place: TypeAlias = tuple[str, Mapping[str, object] | Sequence[tuple[str, str]]]


def to_run(given: Given) -> Place:
    """Of an act on a run: its page."""
    return f"/runs/{given.get('run', '')}", {}


@dataclass(frozen=True, slots=True)
class Deed:
    """How one act is done from a form.

    *act*: its name at the desk. *title* of the form, *button* that does it. *about*: the object, from what was given;
    raises `UsageError`. *details*: as the desk's table wants them. *do*: the deed itself. *said*: what has happened, in a
    sentence. *hidden*: what the address says besides, and the form keeps. *preview* is read before, for *template*.
    *after*: the template for what *do* returned, where a sentence is not enough, with the values of *shown*. *back*: the
    page that it belongs to, as a path and a query. *note*: what to ask for as the note (nothing, if it is empty), and
    whether it must be there. *each*: may it be done to all runs of a filter? *own_desk*: *do* goes through the desk itself.
    *own_check*: *do* sees itself that all is as it was shown, when nobody else can change it any more.
    """

    act: str
    title: str
    button: str
    about: Callable[[Given], str]
    do: Callable[[Tx, str, Author, Given], Awaitable[Any]]
    said: Callable[[Given, Any], str]
    details: Callable[[Given], Mapping[str, Any]] = lambda _: {}
    fields: tuple[Field, ...] = ()
    hidden: tuple[str, ...] = ()
    preview: Callable[[Tx, str, Given], Awaitable[Preview]] | None = None
    template: str = ""
    after: str = ""
    shown: Callable[[Site, Given, Any], Mapping[str, Any]] | None = None
    note: str = "Why, for the record"
    note_needed: bool = False
    grave: bool = False
    each: bool = False
    own_desk: bool = False
    own_check: bool = False
    told: Callable[[Any], Mapping[str, Any] | None] | None = None
    back: Callable[[Given], Place] = to_run
