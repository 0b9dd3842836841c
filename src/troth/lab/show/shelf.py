"""Where verdicts are kept: `.troth/lab/`, a file each, with an index by scenario.

    verdicts/1f0c3a9e.json      the document; its name is its content, so the same verdict is kept once
    scenarios/test_signup-5d2c.json   the ids of a scenario's verdicts, the latest first

An index is replaced whole, and every scenario has its own, so that test processes side by side do not disturb one another.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec

from troth.lab.model import LabError
from troth.lab.show.document import Counterexample, Document, decode, encode

HOME = Path(".troth") / "lab"
_KEPT = 20
"""Verdicts of one scenario that are remembered."""


class _Index(msgspec.Struct, frozen=True):
    scenario: str
    verdicts: tuple[str, ...] = ()


class Shelf:
    """The verdicts under one directory.

    Args:
        home: the directory; it is made when the first verdict is put there.
    """

    def __init__(self, home: Path = HOME) -> None:
        self.home = home

    def put(self, document: Document) -> Path:
        """Keep a verdict as the latest of its scenario. Returns its file."""
        file = self._file(document.id)
        _write(file, encode(document))
        known = self._index(document.key).verdicts
        ids = (document.id, *(one for one in known if one != document.id))
        _write(
            self._index_file(document.key),
            msgspec.json.encode(_Index(document.key, ids[:_KEPT])),
        )
        for old in ids[_KEPT:]:
            self._file(old).unlink(missing_ok=True)
        return file

    def last(self, scenario: str) -> Document | None:
        """The latest verdict of a scenario; None if there is none, or if it cannot be read any more."""
        for one in self._index(scenario).verdicts[:1]:
            with suppress(OSError, LabError):
                return decode(self._file(one).read_bytes(), str(self._file(one)))
        return None

    def scenarios(self) -> tuple[str, ...]:
        """The scenarios of which something is kept."""
        files = sorted((self.home / "scenarios").glob("*.json"))
        return tuple(
            sorted(msgspec.json.decode(file.read_bytes(), type=_Index).scenario for file in files)
        )

    def find(self, name: str) -> tuple[Document, Counterexample | None]:
        """A verdict by the beginning of its id, by the beginning of the id of one of its counterexamples, or by its scenario.

        Raises:
            LabError: there is none, or there are several.
        """
        for scenario in self.scenarios():
            if name in {scenario, scenario.rpartition("::")[2]}:
                latest = self.last(scenario)
                if latest is not None:
                    return latest, None
        found = [
            (document, example)
            for document in self._all()
            for example in (None, *document.counterexamples)
            if (document.id if example is None else example.id).startswith(name)
        ]
        if not found:
            known = ", ".join(self.scenarios()) or "none"
            raise LabError(
                f"no verdict, counterexample or scenario {name!r} in {self.home}; scenarios: {known}"
            )
        ids = {document.id if example is None else example.id for document, example in found}
        if len(ids) > 1:
            raise LabError(f"{name!r} is the beginning of several: {', '.join(sorted(ids))}")
        return found[0]

    def _all(self) -> list[Document]:
        """Every verdict, the latest of each scenario first."""
        ids = dict.fromkeys(
            one for scenario in self.scenarios() for one in self._index(scenario).verdicts
        )
        files = [file for one in ids if (file := self._file(one)).exists()]
        return [decode(file.read_bytes(), str(file)) for file in files]

    def _file(self, number: str) -> Path:
        return self.home / "verdicts" / f"{number}.json"

    def _index_file(self, scenario: str) -> Path:
        readable = re.sub(r"[^\w.-]+", "-", scenario.rpartition("::")[2])[:60]
        return self.home / "scenarios" / f"{readable}-{digest(scenario)[:8]}.json"

    def _index(self, scenario: str) -> _Index:
        try:
            return msgspec.json.decode(self._index_file(scenario).read_bytes(), type=_Index)
        except (OSError, msgspec.DecodeError):
            return _Index(scenario)


def digest(*parts: object) -> str:
    """The name of plain data."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(file)
