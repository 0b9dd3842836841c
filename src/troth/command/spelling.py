"""How an act is typed: "copy as CLI" of the console, and what a second person is told to do. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from troth.base import codec

Details = Mapping[str, Any]


def as_command(act: str, about: str, details: Details, note: str | None = None) -> str:
    """The command that does an act, for a shell; empty for the few that no command does.

    *about* and *details* as they are given to `desk.carry_out`. What is hidden in a record and so is not in *details* is
    left as a word in capitals, to be replaced.
    """
    spell = _SPELLINGS.get(act)
    if spell is None:
        return ""
    said = spell(about, details)
    if not said:
        return ""
    words = ["troth", *said]
    if note:
        words += ["--evidence" if act == "effect.settle" else "--note", note]
    return shlex.join(words)


def _just(*words: str) -> Callable[[str, Details], list[str]]:
    """A command whose only argument is what it is about."""
    return lambda about, _: [*words, about]


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}+00:00"
    return str(value)


def _option(name: str, value: Any) -> list[str]:
    """Nothing for None; a flag for true; otherwise the option with its value."""
    if value is None or value is False:
        return []
    return [name] if value is True else [name, _text(value)]


def _repeated(name: str, values: Iterable[Any]) -> list[str]:
    return [word for value in values for word in _option(name, value)]


def _json(details: Details) -> str:
    return codec.encode(details["value"]).decode() if "value" in details else "VALUE"


def _seconds(name: str, value: float | None) -> list[str]:
    return [] if value is None else [name, f"{value:.3f}".rstrip("0").rstrip(".") + "s"]


def _send(run: str, said: Details) -> list[str]:
    return ["run", "send", run, said["topic"], _json(said), *_option("--key", said["key"])]


def _settle(run: str, said: Details) -> list[str]:
    path = [] if said["path"] is None else [said["path"]]
    found = ["--done", _json(said)] if said["done"] else ["--not-done"]
    return ["effect", "settle", run, *path, *found]


def _probe(run: str, said: Details) -> list[str]:
    path = [] if said["path"] is None else [said["path"]]
    return ["effect", "probe", run, *path, *_option("--anyway", said["anyway"])]


def _rewind(run: str, said: Details) -> list[str]:
    redo = _option("--redo-transactions", said["redo_transactions"])
    return ["run", "resume", run, "--from", said["from"], *redo]


def _resend_all(_: str, said: Details) -> list[str]:
    which = _option("--endpoint", said["endpoint"]) + _option("--since", said["since"])
    return ["outbox", "resend", *which]


def _replay_all(state: str, said: Details) -> list[str]:
    rest = [
        word
        for name in ("source", "type", "object", "limit")
        for word in _option(f"--{name}", said[name])
    ]
    return ["inbox", "replay", f"--{state}", *rest]


def _backfill(name: str, said: Details) -> list[str]:
    span = _option("--since", said["since"]) + _option("--until", said["until"])
    return ["schedule", "backfill", name, *span]


def _reconcile(name: str, said: Details) -> list[str]:
    span = _option("--since", said["since"]) + _option("--until", said["until"])
    return ["reconcile", "run", name, *span]


def _own(number: str, said: Details) -> list[str]:
    for_ = ["--release"] if said["owner"] is None else _option("--for", said["owner"])
    return ["reconcile", "own", number, *for_]


def _person(email: str, said: Details) -> list[str]:
    rest = _option("--tenant", said["tenant"]) + _repeated("--group", said["groups"])
    return ["access", "person", "add", email, *rest]


def _key(name: str, said: Details) -> list[str]:
    return [
        *("access", "key", "create", name),
        *_repeated("--scope", said["scopes"]),
        *_option("--owner", said["owner"]),
        *_option("--tenant", said["tenant"]),
        *_seconds("--lifetime", said["lifetime_s"]),
    ]


def _rotate(prefix: str, said: Details) -> list[str]:
    rest = _seconds("--overlap", said["overlap_s"]) + _seconds("--lifetime", said["lifetime_s"])
    return ["access", "key", "rotate", prefix, *rest]


def _post(id_: str, said: Details) -> list[str]:
    money = [said["amount"], said["currency"]]
    return [
        "ledger",
        "post",
        id_,
        said["debit"],
        said["credit"],
        *money,
        *_option("--code", said["code"]),
    ]


def _claim(run: str, said: Details) -> list[str]:
    if said["owner"] is None:
        return ["run", "claim", run, "--release", *_option("--take-over", said["take_over"])]
    for_ = _option("--for", said["owner"])
    return ["run", "claim", run, *for_, *_option("--take-over", said["take_over"])]


def _show(about: str, said: Details) -> list[str]:
    """Nothing for a message: no command shows what it says."""
    path = said["path"] or ""
    machine = path.rpartition(", entry ")[0] or path
    shows = {
        "run": ["run", "show", about],
        "effect": ["effect", "show", about, *filter(None, [path])],
        "event": ["inbox", "show", about],
        "object": ["machine", "show", machine, about],
        "request": ["request", "show", about],
        "decision": ["access", "why", about],
        "message": [],
    }.get(said["of"], ["run", "tail"])
    return [*shows, "--payloads"] if shows else []


_SPELLINGS: Final[Mapping[str, Callable[[str, Details], list[str]]]] = {
    "run.cancel": _just("run", "cancel"),
    "run.resume": _just("run", "resume"),
    "run.send": _send,
    "run.rewind": _rewind,
    "run.fork": lambda run, said: ["run", "fork", run, "--from", said["from"]],
    "effect.settle": _settle,
    "effect.probe": _probe,
    "inbox.replay": lambda event, said: [
        *("inbox", "replay", event),
        *_option("--source", said["source"]),
    ],
    "inbox.replay_all": _replay_all,
    "outbox.resend": _just("outbox", "resend"),
    "outbox.resend_all": _resend_all,
    "outbox.endpoint.enable": _just("outbox", "endpoint", "enable"),
    "outbox.endpoint.disable": _just("outbox", "endpoint", "disable"),
    "schedule.pause": _just("schedule", "pause"),
    "schedule.resume": _just("schedule", "resume"),
    "schedule.run": _just("schedule", "run"),
    "schedule.backfill": _backfill,
    "reconcile.run": _reconcile,
    "reconcile.accept": lambda number, said: [
        *("reconcile", "accept", number),
        *_option("--until", said["until"]),
    ],
    "reconcile.reopen": _just("reconcile", "reopen"),
    "reconcile.own": _own,
    "reconcile.settle": _just("reconcile", "settle"),
    "reconcile.close": lambda name, said: [
        *("reconcile", "approve", name),
        *_option("--until", said["until"]),
    ],
    "access.person.add": _person,
    "access.person.disable": _just("access", "person", "disable"),
    "access.key.create": _key,
    "access.key.rotate": _rotate,
    "access.key.revoke": _just("access", "key", "revoke"),
    "access.session.end": _just("access", "session", "end"),
    "access.session.end_all": lambda email, _: ["access", "session", "end", "--email", email],
    "ledger.post": _post,
    "ledger.close": _just("ledger", "close"),
    "ledger.seal": lambda *_: ["ledger", "seal"],
    "attention.claim": _claim,
    "attention.note": lambda run, said: ["run", "note", run, said["text"] or ""],
    "payload.show": _show,
    "act.rule": lambda act, said: [
        "access",
        "acts",
        "--set",
        act,
        *_option("--eyes", said["eyes"]),
    ],
    "act.withdraw": _just("audit", "withdraw"),
    "db.retain": lambda _, said: ["db", "retain", *_seconds("--keep", said["keep_s"])],
}
