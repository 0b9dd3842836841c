"""Which of troth's rows mean something, and which are bookkeeping: the projection by which a world is known when nobody is at work.

Pure. `looked` is what is never part of a world (who a process was, when it last beat); `at_rest` is what is the same to whoever comes next:

* When an answer was recorded, or a row of the application written, is over: it is taken to be now, or older than a key can be.
* Times that decisions are made by count from now, and long gaps between them are as long as the longest span that the code compares with.
* A worker that holds no run is of no consequence when it is dead.
* Ids of workers are compared for equality only, so they are counted from 1 in their order.
* A claim's number fences the transactions of whoever held the run before. Nobody lives, so it says only whether it was claimed at all.
* Of a call that has its answer, only that is left: how it came by it is for people.
* What an attempt or a probe was told in words is for people; the rules go by its outcome and its times.
* Marks answer a process that sends a flush again. Nobody lives that could.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from troth.lab.moments import EPOCH

Rows = dict[str, tuple[list[str], list[list[Any]]]]
"""Per table its columns and rows, as JSON has them."""

DAY = 86_400.0
FAR = 400 * DAY
"""A number within so many seconds of the lab's present is taken for a time."""

BOOKKEEPING = {
    "worker": {"beat_at", "started_at"},
    "worker_gone": {"gone_at"},
    "mark": {"at", "asked"},
    "message": {"sent_at"},
    "attention": {"since"},
}
"""Columns that only people and peers' watchers read."""

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?\+00:00")
_PAYLOADS = ("\\x7b", "\\x31")  # "{" and "1": an object, and a time, in JSON
_WORKERS = (("worker", "id"), ("worker_gone", "id"), ("mark", "worker"), ("run", "owner"))


def at_rest(tables: Rows, schema: str, now: float, ages: Ages) -> Rows:
    """The rows as they are known when nobody lives. `now`: seconds since the lab's epoch."""
    present = EPOCH + now
    past: set[float] = set()

    def noted(moment: float) -> float:
        past.update({round(present - moment, 6)} if moment < present else ())
        return moment

    _only_answers(tables, schema)
    _moved(tables, schema, _Times(noted), _Times(lambda moment: moment))
    aged = _ages(past, ages)

    def counted(moment: float) -> float:
        ago = round(present - moment, 6)
        return EPOCH - (aged[ago] if ago > 0 else ago)

    def over(moment: float) -> float:
        ago = round(present - moment, 6)
        return EPOCH - (0.0 if 0 < ago < ages.far_s else min(ago, ages.far_s))

    moved = _moved(tables, schema, _Times(counted), _Times(over))
    moved.pop(f"{schema}.mark", None)
    _without_idle_workers(moved, schema)
    numbers = {old: new for new, old in enumerate(sorted(set(_workers(moved, schema))), start=1)}
    for table, column in _WORKERS:
        _each(moved, f"{schema}.{table}", column, lambda value: numbers.get(value, value))
    _each(moved, f"{schema}.worker", "beat", lambda _: 0)
    _each(moved, f"{schema}.run", "claim", lambda value: min(value, 2))
    _each(moved, f"{schema}.run_history", "claim", lambda _: 1)
    return {name: (columns, sorted(rows, key=_order)) for name, (columns, rows) in moved.items()}


def without_words(tables: Rows, schema: str) -> Rows:
    """The rows without what attempts and probes were told in words."""
    columns, entries = tables.get(f"{schema}.journal", ([], []))
    for entry in entries:
        payload = entry[columns.index("payload")]
        if entry[columns.index("kind")] in TOLD and payload is not None:
            entry[columns.index("payload")] = f"\\x{wordless(bytes.fromhex(payload[2:])).hex()}"
    return tables


def meant(tables: Rows, schema: str) -> Rows:
    """What of it people ask for: runs, answers of steps, and the application's own tables, by their names alone."""
    found: Rows = {}
    runs: list[list[Any]] = []
    for table in ("run", "run_history"):
        columns, rows = tables.get(f"{schema}.{table}", ([], []))
        for row in rows:
            named = dict(zip(columns, row, strict=True))
            outcome = named.get("outcome")
            said = None if outcome is None else msgspec.json.decode(bytes.fromhex(outcome[2:]))
            runs.append(
                [named["workflow"], named["key"], named["state"], named.get("reason"), said]
            )
    found["runs"] = (["workflow", "key", "state", "reason", "outcome"], runs)
    columns, rows = tables.get(f"{schema}.journal", ([], []))
    entries = [dict(zip(columns, row, strict=True)) for row in rows]
    answers = [[entry["path"], entry["ok"]] for entry in entries if entry["kind"] == _RESULT]
    found["answers"] = (["step", "ok"], answers)
    for name, held in tables.items():
        home, _, table = name.partition(".")
        if home != schema:
            found[table] = held
    return found


def looked(name: str, schema: str, columns: list[str]) -> list[str]:
    """The columns of a table that are part of a world."""
    left_out = BOOKKEEPING.get(name.removeprefix(f"{schema}."), set())
    return [column for column in columns if column not in left_out]


_RESULT = 2  # Kind.RESULT
_ON_THE_WAY = (1, 4, 6)  # Kind.INTENT, Kind.ATTEMPT, Kind.EVIDENCE
TOLD = (4, 6)  # Kind.ATTEMPT, Kind.EVIDENCE


def wordless(payload: bytes) -> bytes:
    """What is recorded of an attempt or a probe, without what it was told in words."""
    said = msgspec.json.decode(payload)
    return msgspec.json.encode({k: v for k, v in said.items() if k != "message"} | {"message": ""})


def _moved(tables: Rows, schema: str, compared: _Times, over: _Times) -> Rows:
    """The rows with their times changed: `compared` those that decisions are made by, `over` all others."""
    moved: Rows = {}
    for name, (columns, rows) in tables.items():
        kind = columns.index("kind") if name == f"{schema}.journal" else -1
        moved[name] = (columns, [
            [(compared if kind >= 0 and row[kind] != _RESULT else over).of(value) for value in row]
            for row in rows
        ])  # fmt: skip
    return moved


def _only_answers(tables: Rows, schema: str) -> None:
    """An answered call is replayed by its answer alone, and an effect that is undone is asked for nothing else."""
    name = f"{schema}.journal"
    if name in tables:
        columns, rows = tables[name]
        run, path, kind = (columns.index(column) for column in ("run_id", "path", "kind"))
        answered = {(row[run], row[path]) for row in rows if row[kind] == _RESULT}
        kept = [
            row
            for row in rows
            if row[kind] not in _ON_THE_WAY or (row[run], row[path]) not in answered
        ]
        tables[name] = (columns, kept)


def _without_idle_workers(tables: Rows, schema: str) -> None:
    columns, runs = tables.get(f"{schema}.run", ([], []))
    owners = {run[columns.index("owner")] for run in runs}
    for table in ("worker", "worker_gone"):
        name = f"{schema}.{table}"
        if name in tables:
            columns, rows = tables.pop(name)
            kept = [row for row in rows if row[columns.index("id")] in owners]
            if kept:
                tables[name] = (columns, kept)


def _workers(tables: Rows, schema: str) -> Iterator[int]:
    for table, column in _WORKERS:
        columns, rows = tables.get(f"{schema}.{table}", ([], []))
        if column in columns:
            place = columns.index(column)
            yield from (row[place] for row in rows if row[place] is not None)


def _each(tables: Rows, name: str, column: str, change: Any) -> None:
    columns, rows = tables.get(name, ([], []))
    if column in columns:
        place = columns.index(column)
        for row in rows:
            row[place] = change(row[place])


def _order(row: list[Any]) -> bytes:
    return msgspec.json.encode(row)


class Ages(NamedTuple):
    """What a program compares times with: `near_s` covers every span but the lifetimes of keys, of which `far_s` is the longest."""

    near_s: float
    far_s: float


def _ages(seconds: set[float], ages: Ages) -> dict[float, float]:
    """Past moments, in seconds before now, and as long ago as they are taken to be.

    A gap that is longer than every span but a key's lifetime is made as long as that: who compares two moments, or one with now, finds
    the same. What is older than a key can be stays so.
    """
    found: dict[float, float] = {}
    before, age = 0.0, 0.0
    for moment in sorted(seconds):
        age += min(moment - before, ages.near_s)
        if moment >= ages.far_s > age:
            age = ages.far_s
        found[moment] = age
        before = moment
    return found


class _Times:
    """Times, wherever they stand: in columns, and in the JSON of payloads."""

    def __init__(self, change: Callable[[float], float]) -> None:
        self._change = change

    def of(self, value: Any) -> Any:
        """The value with its times changed."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, float):
            return self._time(value)
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if isinstance(value, dict):
            return {key: self.of(item) for key, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        if _ISO.fullmatch(text):
            at = self._time(datetime.fromisoformat(text).timestamp())
            return datetime.fromtimestamp(at, UTC).isoformat()
        if text.startswith(_PAYLOADS):
            return self._payload(text)
        return text

    def _payload(self, text: str) -> str:
        try:
            said = msgspec.json.decode(bytes.fromhex(text[2:]))
        except (msgspec.DecodeError, ValueError):
            return text
        return "\\x" + msgspec.json.encode(self.of(said)).hex()

    def _time(self, seconds: float) -> float:
        if abs(seconds - EPOCH) > FAR:
            return seconds
        return round(self._change(seconds), 6)
