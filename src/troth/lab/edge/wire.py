"""The server's side of PostgreSQL's protocol, without a server: a client's bytes in, the bytes that it gets out.

So a driver that speaks the protocol itself stays whole, with its codecs, its caches and its errors; only the socket is the lab's.
Protocol version 3: the extended query (Parse, Bind, Describe, Execute, Sync) and the simple one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from troth.lab.edge.attempt import Stopped
from troth.lab.edge.line import Line, Lost
from troth.lab.model import Observation
from troth.lab.postgres_rules import is_plain_read

_SETTINGS = {
    "server_version": "15.0",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    "is_superuser": "on",
    "in_hot_standby": "off",
    "default_transaction_read_only": "off",
}
_ABORTED = (
    (67, b"25P02"),
    (
        77,
        b"current transaction is aborted, commands ignored until end of transaction block",
    ),
    (83, b"ERROR"),
    (86, b"ERROR"),
)


class Wire:
    """One connection, as the server sees it. `feed` raises what `Line` raises."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.over = False
        """Whether the client has said goodbye."""
        self._input = b""
        self._greeted = False
        self._statements: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._bound: tuple[str, tuple[Any, ...], tuple[int, ...], tuple[int, ...]] | None = None
        self._skipping = False
        """After an error, everything up to the next Sync is passed over."""
        self._results: tuple[int, ...] = ()
        """In which formats the columns are wanted."""

    def feed(self, data: bytes) -> bytes:
        """What the server answers to more of the client's bytes."""
        self._input += data
        try:
            return b"".join(self._answers())
        except (Lost, Stopped):
            raise
        except Exception as error:  # noqa: BLE001  (to the driver it would be one more error of a server)
            self._line.attempt.refuse(f"PostgreSQL's protocol: {type(error).__name__}: {error}")

    def _answers(self) -> Iterator[bytes]:
        if not self._greeted and len(self._input) >= 4:
            (size,) = struct.unpack_from("!i", self._input)
            if len(self._input) < size:
                return
            self._input, self._greeted = self._input[size:], True
            yield _message(b"R", struct.pack("!i", 0))
            for name, value in _SETTINGS.items():
                yield _message(b"S", _text(name) + _text(value))
            yield _message(b"K", struct.pack("!ii", 1, 1))
            yield self._ready()
        while len(self._input) >= 5:
            (size,) = struct.unpack_from("!i", self._input, 1)
            if len(self._input) < size + 1:
                return
            kind, payload = self._input[:1], self._input[5 : size + 1]
            self._input = self._input[size + 1 :]
            if kind == b"S":
                yield from self._sync()
            elif kind == b"Q":
                yield from self._simple(payload)
            elif not self._skipping:
                yield from self._extended(kind, payload)

    def _simple(self, payload: bytes) -> Iterator[bytes]:
        text = payload[:-1].decode()
        if not text.strip(" ;\n"):
            yield _message(b"I")
        else:
            yield from self._seen(self._line.simple(text), described=True)
        self._skipping = False  # it is its own Sync
        yield self._ready()

    def _extended(self, kind: bytes, payload: bytes) -> Iterator[bytes]:
        reader = _Reader(payload)
        if kind == b"P":
            name, text = reader.text(), reader.text()
            types = reader.numbers("i")
            self._statements[name] = (text, types)
            if text.strip(" ;\n") and self._line.status == "E":
                yield from self._failed(_ABORTED)
            else:
                yield _message(b"1")
        elif kind == b"D":
            yield from self._describe(reader)
        elif kind == b"B":
            portal, name = reader.text(), reader.text()
            if portal:
                self._line.attempt.refuse("a cursor of the server (a named portal) is not explored")
            formats, values = reader.numbers("h"), reader.values()
            text, types = self._statements[name]
            self._bound = (text, values, types, formats)
            self._results = reader.numbers("h")
            yield _message(b"2")
        elif kind == b"E":
            reader.text()
            (limit,) = reader.take("i")
            yield from self._execute(limit)
        elif kind == b"C":
            yield _message(b"3")
        elif kind == b"X":
            self.over = True
            self._line.close()
        elif kind != b"H":
            self._line.attempt.refuse("COPY is not explored")

    def _describe(self, reader: _Reader) -> Iterator[bytes]:
        (what,) = reader.take("c")
        if what != b"S":
            self._line.attempt.refuse("a cursor of the server (a named portal) is not explored")
        text, types = self._statements[reader.text()]
        if not text.strip(" ;\n"):
            yield _message(b"t", struct.pack("!h", 0))
            yield _message(b"n")
            return
        known = self._line.described(text, types)
        if known.error:
            yield from self._failed(known.value[1])
            return
        parameters, columns = known.value
        yield _message(b"t", struct.pack(f"!h{len(parameters)}i", len(parameters), *parameters))
        yield _row_description(columns) if columns else _message(b"n")

    def _execute(self, limit: int) -> Iterator[bytes]:
        assert self._bound is not None
        text, values, types, formats = self._bound
        if not text.strip(" ;\n"):
            yield _message(b"I")
            return
        if len(set(self._results)) > 1:
            self._line.attempt.refuse(
                f"{text!r}: some of its columns are asked for as text and some in binary; that is not explored"
            )
        if self._more():
            self._line.begin_batch()
        spread = formats if len(formats) != 1 else formats * len(values)
        seen = self._line.statement(
            text, values, types, spread, binary=bool(self._results and self._results[0])
        )
        if limit and not seen.error and len(seen.value[4]) > limit and not is_plain_read(text):
            self._line.attempt.refuse(
                f"{text!r}: fewer rows are read than there are, and what happens to the others is not explored; say LIMIT"
            )
        yield from self._seen(seen, described=False, limit=limit)

    def _more(self) -> bool:
        """Whether another statement follows before the next Sync."""
        at = 0
        while len(self._input) >= at + 5:
            kind = self._input[at : at + 1]
            if kind == b"E":
                return True
            if kind == b"S":
                return False
            (size,) = struct.unpack_from("!i", self._input, at + 1)
            at += size + 1
        return False

    def _sync(self) -> Iterator[bytes]:
        failed, self._skipping = self._skipping, False
        self._line.end_batch(failed=failed)
        yield self._ready()

    def _ready(self) -> bytes:
        return _message(b"Z", self._line.status.encode())

    def _seen(self, seen: Observation, *, described: bool, limit: int = 0) -> Iterator[bytes]:
        if seen.error:
            yield from self._failed(seen.value[1])
            return
        _, tag, tuples, columns, rows = seen.value
        if tuples and described:
            yield _row_description(columns)
        for row in rows[: limit or None]:
            yield _data_row(row)
        if limit and len(rows) >= limit:
            yield _message(b"s")
        else:
            yield _message(b"C", _text(tag))

    def _failed(self, fields: tuple[tuple[int, bytes], ...]) -> Iterator[bytes]:
        self._skipping = True
        yield _message(
            b"E", b"".join(bytes([field]) + value + b"\0" for field, value in fields) + b"\0"
        )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"!{form}", self._data, self._at)
        self._at += struct.calcsize(f"!{form}")
        return found

    def text(self) -> str:
        end = self._data.index(b"\0", self._at)
        found, self._at = self._data[self._at : end].decode(), end + 1
        return found

    def numbers(self, form: str) -> tuple[int, ...]:
        (count,) = self.take("h")
        return self.take(f"{count}{form}")

    def values(self) -> tuple[bytes | None, ...]:
        (count,) = self.take("h")
        found: list[bytes | None] = []
        for _ in range(count):
            (size,) = self.take("i")
            found.append(None if size < 0 else self._data[self._at : self._at + size])
            self._at += max(size, 0)
        return tuple(found)


def _message(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(payload) + 4) + payload


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _row_description(columns: Any) -> bytes:
    fields = [
        _text(name) + struct.pack("!ihihih", 0, 0, kind, size, modifier, form)
        for name, kind, modifier, size, form in columns
    ]
    return _message(b"T", struct.pack("!h", len(fields)) + b"".join(fields))


def _data_row(row: Any) -> bytes:
    values = [
        struct.pack("!i", -1) if one is None else struct.pack("!i", len(one)) + one for one in row
    ]
    return _message(b"D", struct.pack("!h", len(values)) + b"".join(values))
