"""How runs are printed. The same facts for people and for programs; payloads only when they are asked for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.text import Text

from troth.base import codec
from troth.cli import durations
from troth.cli.output import Record, block, cell, console, facts, table, title
from troth.command.model import Rewind
from troth.journal.model import Kind, Reason
from troth.view.model import (
    JournalEntry,
    Moment,
    RunHeader,
    RunLine,
    RunPicture,
    Undoing,
    as_json,
)
from troth.view.parked import detail_of, facts_of, what_to_do
from troth.workflow.differences import shown as difference

if TYPE_CHECKING:
    from rich.console import Console

    from troth.command.fork import Fork


def line_record(line: RunLine) -> Record:
    """One run of a list, for programs."""
    return {
        "id": line.id,
        "state": line.state,
        "reason": line.reason,
        "workflow": line.workflow,
        "key": line.key,
        "starts_at": line.starts_at,
        "ended_at": line.ended_at,
        "seconds": line.seconds,
    }


def line_for_people(line: RunLine) -> Record:
    """One run of a list, for people."""
    return {
        "id": line.id,
        "state": _state(line),
        "workflow": line.workflow,
        "key": line.key,
        "began": line.starts_at,
        "took": durations.words(line.seconds) + ("" if line.has_ended else " so far"),
    }


def moment_record(moment: Moment, *, payloads: bool) -> Record:
    """One entry of a journal, for programs."""
    entry = moment.entry
    record = {
        "at": entry.at,
        "path": entry.path,
        "what": moment.what,
        "attempt": _attempt(entry),
        "seconds": moment.seconds,
        "ok": entry.ok,
        "note": moment.note,
        "superseded": moment.superseded,
    }
    return record | ({"payload": as_json(entry.payload)} if payloads else {})


def picture_record(picture: RunPicture, *, payloads: bool) -> Record:
    """A whole run, for programs."""
    header = picture.header
    record: dict[str, Any] = {
        **line_record(header.line),
        "claims": header.claims,
        "wake_at": header.wake_at,
        "owner": header.owner,
        "parent": header.parent,
        "continued": header.continued,
        "deadline": header.deadline,
        "children": [line_record(each) for each in picture.children],
        "attention": detail_of(header, payloads=payloads),
        "failure": _failure(header),
        "timeline": [moment_record(each, payloads=payloads) for each in picture.timeline],
        "timeline_cut": picture.cut,
        "undo": _undoing_record(picture.undoing),
        "messages": [
            {"id": each.id, "topic": each.topic, "sent_at": each.sent_at}
            | ({"payload": as_json(each.payload)} if payloads else {})
            for each in picture.messages
        ],
    }
    if payloads:
        record |= {"input": as_json(header.input), "outcome": as_json(header.outcome)}
    return record


def _undoing_record(undoing: Undoing | None) -> Record | None:
    if undoing is None:
        return None
    return {"undone": undoing.undone, "open": undoing.open, "stands": undoing.stands}


def picture_for_people(picture: RunPicture, *, payloads: bool) -> None:
    """Print a whole run."""
    out = console()
    facts(out, header_facts(picture.header, payloads=payloads))
    _attention(out, picture.header, payloads=payloads)
    if "stands" not in codec.decode(picture.header.detail or b"{}"):  # else it is told there
        _undoing(out, picture.undoing)
    if picture.timeline:
        earlier = " (there are earlier entries: --limit)" if picture.cut else ""
        title(out, f"journal{earlier}")
        start = picture.header.line.starts_at
        out.print(table([moment_row(each, start, payloads=payloads) for each in picture.timeline]))
    if picture.children:
        title(out, "children")
        out.print(table([line_for_people(each) for each in picture.children]))
    if picture.messages:
        title(out, "not heard yet")
        out.print(
            table([
                {"sent": each.sent_at, "topic": each.topic}
                | ({"payload": each.payload.decode(errors="replace")} if payloads else {})
                for each in picture.messages
            ])
        )  # fmt: skip


def header_facts(header: RunHeader, *, payloads: bool) -> dict[str, object]:
    """What is to say about a run as a whole; None is left out."""
    line = header.line
    failure = _failure(header)
    return {
        "run": line.id,
        "workflow": line.workflow,
        "key": line.key,
        "state": _state(line),
        "parent": header.parent,
        "went on as": header.continued,
        "deadline": header.deadline,
        "began": line.starts_at,
        "ended": line.ended_at,
        "took": durations.words(line.seconds) + ("" if line.has_ended else " so far"),
        "claimed": f"{header.claims} times" if header.claims != 1 else "once",
        "worker": header.owner,
        "wakes": header.wake_at if header.owner is None else None,
        "failure": f"{failure['type']}: {failure['message']}" if failure else None,
        "input": header.input.decode(errors="replace") if payloads else None,
        "outcome": (header.outcome or b"").decode(errors="replace") or None if payloads else None,
    }


def cancel_words(header: RunHeader) -> str:
    """What becomes of a cancellation of a run that stood like this."""
    line = header.line
    asked = f"run {line.id} is asked to stop"
    if header.owner is not None:
        return f"{asked}; worker {header.owner} has it and hears it within seconds"
    if line.reason == Reason.IN_DOUBT:
        return (
            f"{asked}. It is in doubt whether an effect happened, and that is owed an answer first (troth effect settle "
            f"{line.id}); then it ends as cancelled."
        )
    return (
        f"{asked}. It is in the state {line.state}, and no worker has it: the next one that executes "
        f"the workflow {line.workflow} claims it and ends it as cancelled. Until one runs, the request waits."
    )


def rewind_words(plan: Rewind) -> str:
    """What going back means, on a line for each kind of answer."""
    told = {
        "kept": plan.kept,
        "settled anew, not blindly repeated": plan.settled_anew,
        "sent anew, under another key, since it was refused": plan.sent_anew,
        "run again": plan.run_again,
        "waited for anew": plan.waited_anew,
    }
    lines = [f"  {name}: {cell(', '.join(paths))}" for name, paths in told.items() if paths]
    return "\n".join([f"back to before {cell(plan.path)}:", *lines])


def fork_words(plan: Fork) -> str:
    """What a fork means, on a line for each kind of answer, and what to think of before."""
    told = {
        "kept": plan.kept,
        "run again": plan.run_again,
        "sent again, under other keys, although the first run has sent it": plan.sent_again,
        "waited for anew": plan.waited_anew,
        "kept, so that both runs believe in it; the fork never undoes it": plan.kept_effects,
    }
    lines = [f"  {name}: {cell(', '.join(paths))}" for name, paths in told.items() if paths]
    return "\n".join([f"a new run from before {cell(plan.path)}:", *lines])


def tail_record(run_id: UUID, step: object, *, payloads: bool) -> Record:
    """One thing that happened, for programs: an entry of the journal or a state."""
    if isinstance(step, Moment):
        return {"run": run_id, **moment_record(step, payloads=payloads)}
    line = step.line if isinstance(step, RunHeader) else step
    assert isinstance(line, RunLine)
    return {
        "run": run_id,
        "state": line.state,
        "reason": line.reason,
        "workflow": line.workflow,
        "key": line.key,
        "starts_at": line.starts_at,
        "ended_at": line.ended_at,
        "seconds": line.seconds,
    }


def tail_line(record: Record) -> str:
    """The same for people, on one line."""
    if "path" not in record:
        reason = f" ({record['reason']})" if record["reason"] else ""
        key = f"  {cell(record['key'])}" if record["key"] else ""
        took = f" after {durations.words(record['seconds'])}" if record["ended_at"] else ""
        return f"{record['run']}  {record['state']}{reason}{took}  {cell(record['workflow'])}{key}"
    took = f" after {durations.words(record['seconds'])}" if record["seconds"] is not None else ""
    attempt = f" (attempt {record['attempt']})" if record["attempt"] else ""
    note = f": {cell(record['note'])}" if record["note"] else ""
    payload = f"  {cell(codec.encode(record['payload']).decode())}" if "payload" in record else ""
    return f"{record['at']:%H:%M:%S}  {cell(record['path'])}  {record['what']}{attempt}{took}{note}{payload}"


def _state(line: RunLine) -> str:
    return f"{line.state}: {line.reason}" if line.reason else line.state


def _failure(header: RunHeader) -> dict[str, str] | None:
    """The type and message of the business answer that a run failed with."""
    if header.line.state != "failed" or not header.outcome:
        return None
    answer = codec.decode(header.outcome)
    return {"type": answer["type"], "message": answer["message"]}


def _attempt(entry: JournalEntry) -> int | None:
    """Which attempt, or which question to the other side, an entry is about."""
    return None if entry.kind == Kind.RESULT else abs(entry.attempt) or None


def moment_row(moment: Moment, start: datetime, *, payloads: bool) -> Record:
    """One entry of a journal, for people; times since *start*."""
    entry = moment.entry
    row = {
        "at": f"+{durations.words(max(0.0, (entry.at - start).total_seconds()))}",
        "step": entry.path,
        "what": moment.what + (" (superseded)" if moment.superseded else ""),
        "attempt": _attempt(entry),
        "took": None if moment.seconds is None else durations.words(moment.seconds),
        "note": moment.note,
    }
    return row | ({"payload": (entry.payload or b"").decode(errors="replace")} if payloads else {})


def _attention(out: Console, header: RunHeader, *, payloads: bool) -> None:
    detail = detail_of(header, payloads=payloads)
    if detail is None:
        return
    title(out, f"needs attention: {header.line.reason}")
    facts(out, facts_of(detail))
    if "diff" in detail:
        out.print(Text("\n- recorded, and not called   + called, and not recorded"))
        out.print(Text("\n".join(map(cell, difference(detail["diff"], values=payloads)))))
    if detail.get("traceback"):
        out.print(Text(block(detail["traceback"])))
    out.print(Text(f"\n{what_to_do(header)}"))


def _undoing(out: Console, undoing: Undoing | None) -> None:
    if undoing is None:
        return
    title(out, "undo")
    told = {
        "undone": ", ".join(undoing.undone) or "nothing",
        "not known": ", ".join(undoing.open) or None,
        "stands": None if undoing.stands is None else ", ".join(undoing.stands) or "no effect",
    }
    facts(out, told)
