"""Named statements from a package's `queries.sql`.

A statement begins with `-- name: claim_runs`, then one sentence of comment, then the SQL. The
schema is put in once; the text that psycopg sees is the same object each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import LiteralString

from troth.store.errors import UnknownStatement
from troth.store.schema import substitute

_HEADER = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)


class Queries(Mapping[str, LiteralString]):
    """The statements of one file for one schema, as attributes and as a mapping."""

    def __init__(self, origin: str, statements: Mapping[str, LiteralString]) -> None:
        self._origin = origin
        self._statements = statements

    def __getitem__(self, name: str) -> LiteralString:
        try:
            return self._statements[name]
        except KeyError:
            known = ", ".join(sorted(self._statements))
            raise UnknownStatement(f"{self._origin} has no {name!r}; it has {known}.") from None

    def __getattr__(self, name: str) -> LiteralString:
        if name.startswith("_"):  # what copy and pickle look for before there is a __dict__
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


@cache
def load(package: str, schema: str, file: str = "queries.sql") -> Queries:
    """The statements of `file` in `package` (a module's `__package__`) for `schema`."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    return Queries(f"{package}/{file}", parse(text, schema))


def parse(text: str, schema: str) -> dict[str, LiteralString]:
    """Split the text of a file into its statements; a name that occurs twice is a `ValueError`."""
    preamble, *parts = _HEADER.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names) or any(
        line and not line.startswith("--") for line in preamble.splitlines()
    ):
        raise ValueError("every statement needs a `-- name:` line of its own")
    return {
        name: substitute(body.strip().removesuffix(";"), schema)
        for name, body in zip(names, bodies, strict=True)
    }
