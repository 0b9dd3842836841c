"""Why a run stands in attention, in the words of whoever has to do something about it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.command.model import Standing
from troth.command.rules import effect_of
from troth.journal.model import Reason
from troth.view.effects import waits_for
from troth.view.model import RunHeader, from_seconds

# What the detail says of the values that steps were given.
_CONFIDENTIAL = frozenset({"sent"})
_TOLD_ELSEWHERE = frozenset({"at", "message", "traceback", "diff", "type", "attempts"})


def detail_of(header: RunHeader, *, payloads: bool) -> dict[str, Any] | None:
    """What the run was parked with, for programs; without values that may be confidential, unless *payloads*."""
    if not header.detail:
        return None
    said: dict[str, Any] = codec.decode(header.detail)
    if payloads:
        return said
    shown = {name: value for name, value in said.items() if name not in _CONFIDENTIAL}
    if "diff" in shown:
        shown["diff"] = [
            [mark, what, args and dict.fromkeys(args), note]
            for mark, what, args, note in said["diff"]
        ]
    if "stands" in shown:
        shown["stands"] = [{"path": each["path"]} for each in shown["stands"]]
    return shown


def facts_of(detail: Mapping[str, Any]) -> dict[str, object]:
    """The same for people, by what to call it: what it is about, what is at stake, what was tried."""
    kind = f"{detail['type']}: " if detail.get("type") else ""
    facts: dict[str, object] = {
        "at": detail.get("at"),
        "because": f"{kind}{detail.get('message')}",
    }
    known = {name: detail[name] for name in _FACTS if name in detail}
    for name, value in {**known, **detail}.items():
        if name not in _TOLD_ELSEWHERE:
            label, words = _FACTS.get(name, (name.replace("_", " "), _listed))
            facts[label] = words(value)
    return facts


def what_to_do(header: RunHeader) -> str:
    """The next command, for people."""
    run = header.line.id
    path = waits_for(header)
    if path is None:
        return f"Mend the cause, then: troth run resume {run}"
    standing = Standing(Reason(str(header.line.reason)), codec.decode(header.detail or b"{}"))
    return _WHAT_TO_DO[standing.reason](run, standing)


def _quoted(standing: Standing) -> str:
    """The path, for a shell: that of an undo begins with an exclamation mark."""
    return shlex.quote(effect_of(standing) or "")


def _in_doubt(run: UUID, standing: Standing) -> str:
    ask = f", or ask once more: troth effect probe {run}" if standing.detail.get("probed") else ""
    return (
        f"Find out what happened, then: troth effect settle {run} {_quoted(standing)} --done RESULT, or --not-done "
        f"--evidence TEXT{ask}"
    )


def _exhausted(run: UUID, standing: Standing) -> str:
    return (
        f"It did not happen. Mend the cause, then: troth run resume {run}. Or do it by hand, then: troth effect settle "
        f"{run} {_quoted(standing)} --done RESULT"
    )


def _undo_failed(run: UUID, standing: Standing) -> str:
    return (
        f"Mend the cause, then: troth run resume {run}. Or undo it by hand, then: troth effect settle {run} "
        f"{_quoted(standing)} --done null --evidence TEXT"
    )


_WHAT_TO_DO: dict[Reason, Callable[[UUID, Standing], str]] = {
    Reason.IN_DOUBT: _in_doubt,
    Reason.RETRIES_EXHAUSTED: _exhausted,
    Reason.UNDO_FAILED: _undo_failed,
}


# Each fact: what people call it, and how it is told; None is left out -------------------------------------------------


def _listed(value: object) -> object:
    return (", ".join(map(str, value)) or None) if isinstance(value, list) else value


def _at(seconds: float) -> str:
    return f"{from_seconds(seconds):%Y-%m-%d %H:%M:%S}Z"


def _times(seconds: list[float]) -> str | None:
    return ", ".join(_at(at) for at in seconds) or None


def _probes(probes: list[dict[str, Any]]) -> str | None:
    told = (
        f"{_at(each['at'])} {each.get('answer')}"
        + (f" ({each['message']})" if each.get("message") else "")
        for each in probes
    )
    return "; ".join(told) or None


def _stands(stands: list[dict[str, Any]]) -> str:
    told = (
        each["path"] + (f" = {codec.encode(each['value']).decode()}" if "value" in each else "")
        for each in stands
    )
    return ", ".join(told) or "nothing"


def _people(count: int) -> str | None:
    return f"{count} people" if count > 1 else None


_FACTS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "because": ("undoes for", _listed),
    "stands": ("stands", _stands),
    "undone": ("undone", lambda paths: ", ".join(paths) or "nothing"),
    "provider": ("provider", _listed),
    "key": ("key", _listed),
    "key_until": ("key known", lambda at: at and f"until {_at(at)}"),
    "stake": ("at stake", _listed),
    "sent": ("arguments", lambda sent: codec.encode(sent).decode()),
    "sent_at": ("sent", _times),
    "lands_until": ("may land", lambda at: at and f"until {_at(at)}"),
    "answers": ("answers", _listed),
    "probed": ("probe", lambda probed: "there is one" if probed else "none"),
    "probes": ("asked", _probes),
    "settled_by": ("must agree", _people),
}
