"""Statements in files: where files come from, and how their statements become pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from troth.base import codec
from troth.reconcile.model import Item, Page, SourceError, Statement, Window

PAGE_ITEMS: Final = 2000


class Files(Protocol):
    """Where files are: a directory, a bucket, an SFTP server. A file does not change under its name."""

    @property
    def name(self) -> str:
        """For people."""

    async def names(self) -> Sequence[str]:
        """The names of all files, those of earlier days first."""

    async def read(self, name: str) -> bytes:
        """One file."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a directory that fit *pattern*, in the order of their names: so have the day in the name.

    *largest*: bytes of a file, at most, since it is read whole.
    """

    path: Path
    pattern: str = "*"
    largest: int = 64 * 2**20

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    async def names(self) -> list[str]:
        """The names, sorted. Raises `SourceError` if there is no such directory: that is not the same as no file."""

        def look() -> list[str]:
            if not self.path.is_dir():
                raise SourceError(f"there is no directory {self.path}")
            return sorted(each.name for each in self.path.glob(self.pattern) if each.is_file())

        return await asyncio.to_thread(look)

    async def read(self, name: str) -> bytes:
        """One file. Raises `SourceError` for one that is larger than it may be, or gone."""

        def look() -> bytes:
            try:
                with (self.path / name).open("rb") as file:
                    content = file.read(self.largest + 1)
            except FileNotFoundError:
                raise SourceError(f"{self.path / name} is gone while it is read") from None
            if len(content) > self.largest:
                msg = f"{self.path / name} is larger than {self.largest:,} bytes: have it split by account or day, or say largest="
                raise SourceError(msg)
            return content

        return await asyncio.to_thread(look)


@dataclass(frozen=True, slots=True)
class Told:
    """A statement with its entries. *first*, *last*: the days that it is about, both included, as their bank counts them."""

    statement: Statement
    items: Sequence[Item]
    first: datetime
    last: datetime


class Statements:
    """The statements of files as pages: a base, whose `parse` says what a file holds.

    A file is read whole, and its statements are given out in parts. The same statement in two files counts once, if it is the
    same word for word. The feed goes up to the end of the last day of its last statement.
    """

    kind = "statements"

    def __init__(self, files: Files) -> None:
        self.files = files
        self._kept: tuple[str, bytes, list[Told]] | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.kind} in {self.files.name}"

    def parse(self, name: str, content: bytes) -> list[Told]:
        """The statements of a file, in order. Raises `SourceError`."""
        raise NotImplementedError

    async def page(self, cursor: str | None, window: Window) -> Page:
        """The next part: of a statement that has something to do with the window."""
        names = list(await self.files.names())
        at, digest, statement, first = _cursor(cursor)
        while True:
            if at is None:
                if not names:
                    return Page((), until=window.first)
                at = names[0]
            if at not in names:
                raise SourceError(f"{self.name}: {at} is gone while it is read")
            told = await self._told(at, digest)
            chosen = [
                each for each in told if each.first < window.last and each.last >= window.first
            ]
            if statement < len(chosen):
                return self._part(names, at, chosen, statement, first)
            following = names[names.index(at) + 1 :]
            if not following:
                return Page((), until=window.first)
            at, digest, statement, first = following[0], None, 0, 0

    def _part(
        self, names: list[str], at: str, chosen: Sequence[Told], statement: int, first: int
    ) -> Page:
        told = chosen[statement]
        last = first + PAGE_ITEMS
        items = told.items[first:last]
        digest = self._digest.hex()
        following = names[names.index(at) + 1 :]
        if last < len(told.items):
            next_: str | None = _written(at, digest, statement, last)
        elif statement + 1 < len(chosen):
            next_ = _written(at, digest, statement + 1, 0)
        else:
            next_ = _written(following[0], None, 0, 0) if following else None
        return Page(items, next_, None, told.statement, told.last)

    @property
    def _digest(self) -> bytes:
        assert self._kept is not None
        return self._kept[1]

    async def _told(self, name: str, digest: str | None) -> list[Told]:
        if self._kept is None or self._kept[0] != name:
            content = await self.files.read(name)
            told = await asyncio.to_thread(self.parse, name, content)
            self._kept = (name, codec.digest(content), told)
        if digest is not None and self._digest.hex() != digest:
            self._kept = None
            raise SourceError(f"{self.name}: {name} has changed while it is read")
        return self._kept[2]


def _cursor(text: str | None) -> tuple[str | None, str | None, int, int]:
    if text is None:
        return None, None, 0, 0
    name, digest, statement, first = codec.decode(text.encode())
    return name, digest, statement, first


def _written(name: str, digest: str | None, statement: int, first: int) -> str:
    return codec.encode([name, digest, statement, first]).decode()
