"""What the code of a workflow does other than what the journal says: told so that a person can act on it.

A difference is a few lines around the first place where the two part: what is recorded beside what the code called. It is
stored with a run that is parked for it, with the values of arguments that differ, and printed with or without these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from troth.base import codec
from troth.journal.model import Entry, Kind
from troth.workflow.calls import PendingCall
from troth.workflow.failures import describe_briefly

if TYPE_CHECKING:
    from troth.workflow.run import ActiveRun

SHOWN = 8  # recorded, and called, lines of one difference
_LONGEST_VALUE = 80  # characters

_WHAT_TO_DO = "Finish such runs with the old code, or bring it back and resume."
_DIGEST_ONLY = "other arguments; only their digest is recorded"

# A line: its mark (' ' both, '-' only recorded, '+' only called), what, the arguments that differ, and a note.
Line = tuple[str, str, dict[str, Any] | None, str | None]


def difference(run: ActiveRun, entry: Entry, call: PendingCall | None) -> dict[str, Any]:
    """The code does not go on as the journal does, which has *entry* next. *call*: the same call, with other arguments."""
    if call is None:
        said = f"the journal goes on with {entry.path}, which the code did not call"
        lines = _other_calls(run, entry)
    else:
        said = f"{entry.path} was recorded with other arguments than the code passes now"
        lines = [*_before(run), *_other_arguments(run, entry, call)]
    return {"at": entry.path, "message": f"{said}. {_WHAT_TO_DO}", "diff": lines}


def beyond_the_end(run: ActiveRun) -> dict[str, Any]:
    """The run has ended, and the code does not: it waits for calls that nobody has made then."""
    called = [call.path for call in run.calls.values() if not call.future.done()]
    said = f"the run had ended, and the code goes on: it calls {', '.join(called) or 'nothing'}"
    lines: list[Line] = [*_before(run), ("-", "(the run ended)", None, None)]
    return {"at": "the end", "message": said, "diff": lines + _called(called)}


def other_end(run: ActiveRun, recorded: str, now: str) -> dict[str, Any]:
    """The run ends in another way than it did; both in words."""
    lines: list[Line] = [
        *_before(run),
        ("-", "(the run ended)", {"": recorded}, None),
        ("+", "(the run ends)", {"": now}, None),
    ]
    said = "the code makes the same calls, and ends with another result"
    return {"at": "the end", "message": said, "diff": lines}


def shown(diff: Iterable[Sequence[Any]], *, values: bool) -> list[str]:
    """The lines of a stored difference. Without *values*, arguments have names only."""
    return [f"{mark} {_words(what, args, note, values=values)}" for mark, what, args, note in diff]


def _words(what: str, args: dict[str, Any] | None, note: str | None, *, values: bool) -> str:
    if args is not None and "" in args:  # no parameters: a value
        value = args[""]
        told = _cut(value) if isinstance(value, str) else _brief(value)
        what = f"{what}: {told if values else '…'}"
    elif args is not None:
        named = (f"{name}={_brief(value) if values else '…'}" for name, value in args.items())
        what = f"{what}({', '.join(named)})"
    return f"{what}   # {note}" if note else what


def _brief(value: Any) -> str:
    return _cut(codec.encode(value).decode())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


# The lines ------------------------------------------------------------------------------------------------------------


def _before(run: ActiveRun) -> list[Line]:
    """The last answers that both agree about."""
    return [(" ", path, None, None) for path in run.past.replayed]


def _other_calls(run: ActiveRun, entry: Entry) -> list[Line]:
    recorded = dict.fromkeys([each.path for each in run.past.order])
    recorded |= dict.fromkeys(run.past.owed)
    waiting = [call.path for call in run.calls.values() if not call.future.done()]
    lines = [*_before(run), ("-", entry.path, None, None)]
    lines += _called([path for path in waiting if path not in recorded])
    if run.main is not None and run.main.done():
        lines.append(("+", _ended(run), None, None))
    later = [path for path in recorded if path != entry.path]
    both = [path for path in later if path in waiting]
    lines += [(" ", path, None, None) for path in both[:SHOWN]]
    left = [path for path in later if path not in both[:SHOWN]]
    if left:
        names = ", ".join(left[:SHOWN]) + (", …" if len(left) > SHOWN else "")
        lines.append((" ", f"… then the journal has {names}", None, None))
    return lines


def _called(paths: Sequence[str]) -> list[Line]:
    lines: list[Line] = [("+", path, None, None) for path in paths[:SHOWN]]
    if len(paths) > SHOWN:
        lines.append(("+", f"… and {len(paths) - SHOWN} more", None, None))
    return lines


def _ended(run: ActiveRun) -> str:
    assert run.main is not None
    if run.main.cancelled():
        return "(the workflow was cancelled)"
    error = run.main.exception()
    if error is None:
        return "(the workflow returned)"
    return f"(the workflow raised {describe_briefly(error)[:_LONGEST_VALUE]})"


def _other_arguments(run: ActiveRun, entry: Entry, call: PendingCall) -> list[Line]:
    """Of an effect the old arguments are in its intent; of everything else only a digest is kept."""
    now = codec.decode(call.encoded)
    sent = [entry] if entry.kind == Kind.INTENT else run.past.entries(entry.path, Kind.INTENT)
    before = codec.decode(sent[0].payload) if sent and sent[0].payload else None
    if not (isinstance(before, dict) and isinstance(now, dict)):
        named = now if isinstance(now, dict) else {"": now}
        return [("-", entry.path, None, _DIGEST_ONLY), ("+", entry.path, named, None)]
    differ = [name for name in before | now if before.get(name) != now.get(name)]
    old = {name: before[name] for name in differ if name in before}
    new = {name: now[name] for name in differ if name in now}
    return [("-", entry.path, old, None), ("+", entry.path, new, None)]
