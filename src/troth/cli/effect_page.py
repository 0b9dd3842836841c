"""How effects are printed that somebody must settle. The same facts for people and for programs."""

from __future__ import annotations

import shlex
from uuid import UUID

from rich.text import Text

from troth.cli import durations
from troth.cli.output import Record, cell, console, facts, table, title
from troth.cli.run_page import line_record, moment_record, moment_row
from troth.command.model import Finding, Happened, Proposal, Settlement
from troth.command.rules import finding_words
from troth.view.attention import AttentionLine
from troth.view.effects import EffectStory
from troth.view.model import as_json
from troth.view.parked import detail_of, facts_of, what_to_do


def line_for_people(line: AttentionLine) -> Record:
    """One effect of the list, for people."""
    return {
        "run": line.run,
        "workflow": line.workflow,
        "effect": line.path or "too large to be listed",
        "provider": line.provider,
        "reason": line.reason,
        "at stake": line.stake,
        "first sent": None if line.sent_s is None else f"{durations.words(line.sent_s)} ago",
        "waits": durations.words(line.age_s),
        "must agree": line.settled_by if line.settled_by > 1 else None,
    }


def story_for_programs(story: EffectStory, *, payloads: bool) -> Record:
    """All that is recorded of one effect, for programs."""
    return {
        "run": line_record(story.header.line),
        "path": story.path,
        "attention": detail_of(story.header, payloads=payloads) if story.waits else None,
        "proposal": _proposal_record(story.proposal, payloads=payloads),
        "timeline": [moment_record(each, payloads=payloads) for each in story.timeline],
    }


def story_for_people(story: EffectStory, *, payloads: bool) -> None:
    """Print all that is recorded of one effect, and what to do."""
    out = console()
    line = story.header.line
    state = f"{line.state}: {line.reason}" if line.reason else line.state
    run = {"effect": story.path, "run": line.id, "workflow": line.workflow, "key": line.key}
    facts(out, run | {"state": state})
    detail = detail_of(story.header, payloads=payloads) if story.waits else None
    if detail is not None:
        title(out, f"needs attention: {line.reason}")
        facts(out, {name: told for name, told in facts_of(detail).items() if name != "at"})
        if story.proposal is not None:
            out.print(Text(f"\n{proposal_words(story.path, story.proposal, payloads=payloads)}"))
        out.print(Text(f"\n{what_to_do(story.header)}"))
    if story.timeline:
        title(out, "journal")
        rows = [moment_row(each, line.starts_at, payloads=payloads) for each in story.timeline]
        out.print(table(rows))


def proposal_words(path: str, proposal: Proposal, *, payloads: bool) -> str:
    """A finding that waits for a second person."""
    evidence = f" ({cell(proposal.author.note)})" if proposal.author.note else ""
    found = finding_words(path, done=isinstance(proposal.finding, Happened))
    if isinstance(proposal.finding, Happened) and payloads:
        found += f": {cell(proposal.finding.value.decode(errors='replace'))}"
    return f"{cell(proposal.author.by)} proposes: {found}{evidence}. Another person must agree."


def settlement_words(run: UUID, settlement: Settlement, finding: Finding) -> str:
    """What became of a finding."""
    path = settlement.path
    by = " and ".join(map(cell, settlement.agreed))
    done = isinstance(finding, Happened)
    found = finding_words(path, done=done)
    if not settlement.settled:
        return (
            f"{path} of run {run}: {by} proposes: {found}. Nothing is settled until another person says the same: troth "
            f"effect settle {run} {shlex.quote(path)}"
        )
    then = (
        "The run goes on when a worker claims it, and comes back into attention if its code cannot take the result"
        if done
        else "It may be sent again, when a worker claims the run"
    )
    return f"{path} of run {run} is settled by {by}: {found}. {then}"


def _proposal_record(proposal: Proposal | None, *, payloads: bool) -> Record | None:
    if proposal is None:
        return None
    done = isinstance(proposal.finding, Happened)
    record = {"done": done, "by": proposal.author.by, "note": proposal.author.note}
    if isinstance(proposal.finding, Happened) and payloads:
        record["value"] = as_json(proposal.finding.value)
    return record
