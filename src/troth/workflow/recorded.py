"""A run as a value: what was recorded of it, for a replay elsewhere. Written down, it is one line of JSON.

The format has a number. In a *redacted* run every value of the user's is replaced by a placeholder of the same JSON type,
and digests of arguments are left out, so a replay compares calls and their order, but no arguments and no results. Code
that branches on a value may then take another way: export such runs unredacted, or not at all.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from troth.base import codec
from troth.base.errors import UsageError
from troth.journal.model import CANCEL_TOPIC, ENDED, Entry, Kind, RunState
from troth.workflow.topics import labelled, unlabelled

FORMAT = 1

# What people and programs said, in entries that are not values of the user's as a whole.
_SAID = frozenset({
    "agrees_with", "args", "by", "fields", "message", "note", "proposal", "refusal", "traceback", "value",
})  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_PLACEHOLDERS = (
    (_UUID, "00000000-0000-4000-8000-000000000000"),
    (_TIME, "2000-01-01T00:00:00Z"),
    (_DATE, "2000-01-01"),
    (_NUMBER, "0"),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One run with its journal. *outcome*: of a run that has ended."""

    id: UUID
    workflow: str
    key: str | None
    input: bytes
    state: str
    starts_at: float
    outcome: bytes | None
    entries: tuple[Entry, ...]
    redacted: bool = False

    @property
    def has_ended(self) -> bool:
        """Nothing will happen to it any more."""
        return RunState(self.state) in ENDED


def to_line(run: Recorded) -> str:
    """One run as a line of JSON, without the line feed."""
    return msgspec.json.encode({
        "troth": FORMAT,
        "run": run.id,
        "workflow": run.workflow,
        "key": run.key,
        "state": run.state,
        "starts_at": run.starts_at,
        "redacted": run.redacted,
        "input": run.input.decode(),
        "outcome": _text(run.outcome),
        "entries": [
            [e.path, e.kind, e.attempt, e.seq, e.ok, e.digest and e.digest.hex(), _text(e.payload), e.at]
            for e in run.entries
        ],
    }).decode()  # fmt: skip


def from_lines(lines: Iterable[str], where: str = "a recorded run") -> Iterator[Recorded]:
    """The runs of a file. Raises `UsageError` that names *where* and the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _from_line(line)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            msg = f"{where}, line {number}: no recorded run of format {FORMAT}: {error}"
            raise UsageError(msg) from None


def _from_line(line: str) -> Recorded:
    said: dict[str, Any] = msgspec.json.decode(line)
    if said["troth"] != FORMAT:
        msg = f"it has format {said['troth']}"
        raise ValueError(msg)
    run_id = UUID(said["run"])
    return Recorded(
        id=run_id,
        workflow=said["workflow"],
        key=said["key"],
        input=said["input"].encode(),
        state=RunState(said["state"]),
        starts_at=said["starts_at"],
        outcome=_bytes(said["outcome"]),
        entries=tuple(
            Entry(run_id, path, kind, attempt, seq, ok, digest and bytes.fromhex(digest), _bytes(payload), at)
            for path, kind, attempt, seq, ok, digest, payload, at in said["entries"]
        ),
        redacted=said["redacted"],
    )  # fmt: skip


def redact(run: Recorded) -> Recorded:
    """The same run without the user's values: see the module."""
    return dataclasses.replace(
        run,
        key=None,
        input=_placeholder(run.input) or b"{}",
        outcome=_refusal(run.outcome)
        if run.state == RunState.FAILED
        else _placeholder(run.outcome),
        entries=tuple(e._replace(digest=None, payload=_redacted(e)) for e in run.entries),
        redacted=True,
    )


def _redacted(entry: Entry) -> bytes | None:
    if entry.kind == Kind.WAIT or not entry.payload:
        return entry.payload
    if entry.kind == Kind.RESULT and entry.path != CANCEL_TOPIC and entry.ok is not False:
        if entry.path.rpartition(":")[2].startswith("receive_any"):
            topic, message = unlabelled(entry.payload)
            return labelled(topic, _placeholder(message) or b"null")
        return _placeholder(entry.payload)
    return _placeholder(entry.payload) if entry.kind == Kind.INTENT else _refusal(entry.payload)


def _refusal(payload: bytes | None) -> bytes | None:
    """What has names of troth's own keeps them."""
    said = codec.decode(payload or b"null")
    if not isinstance(said, dict):
        return _placeholder(payload)
    return codec.encode({
        name: _blank(value) if name in _SAID else value for name, value in said.items()
    })  # fmt: skip


def _placeholder(payload: bytes | None) -> bytes | None:
    return payload and codec.encode(_blank(codec.decode(payload)))


def _blank(value: Any) -> Any:
    match value:
        case dict():
            return {name: _blank(each) for name, each in value.items()}
        case list():
            return [_blank(each) for each in value]
        case str():
            return next((said for kind, said in _PLACEHOLDERS if kind.match(value)), "redacted")
        case bool() | None:
            return value
        case _:
            return type(value)(0)


def _text(payload: bytes | None) -> str | None:
    return None if payload is None else payload.decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
