"""A document as text for a terminal: lanes with two columns, what happened and what the caller was told."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from troth.lab.show.brief import brief
from troth.lab.show.document import Check, Counterexample, Document, Entry, Map, Remedy, Row, Site

_LEFT, _RIGHT = 72, 46
_WIDTH = _LEFT + _RIGHT + 3
_STEP = 44
"""Columns of the map's first column."""


def text(document: Document) -> str:
    """The whole report."""
    return "\n".join(_report(document))


def headline(document: Document) -> str:
    """The verdict in one line."""
    n = document.numbers
    numbers = f"{n.states:,} states, {n.steps:,} steps, {n.runs:,} real runs, {n.seconds:.2f} s"
    return f"{document.verdict}  {document.scenario}: {document.summary} ({numbers})"


def hints(document: Document) -> Iterator[str]:
    """What stands below the headline at the end of a test session: what was weakened, and how to see more."""
    for line in document.weakened:
        yield f"    you weakened: {line}"
    if document.counterexamples:
        yield f"    more: troth lab explain {document.id}   troth lab report {document.id} --html FILE"


def _report(document: Document) -> Iterator[str]:
    yield headline(document)
    yield from _listed("you weakened", document.weakened)
    for one in document.counterexamples:
        yield ""
        yield from counterexample(one)
    if document.map is not None and document.map.rows:
        yield ""
        yield from _map(document.map)
    yield ""
    reason, *shown = document.reason.splitlines() or [""]
    yield from _listed("because", (reason,) if reason else ())
    yield from shown
    kept = tuple(
        _title(one.kind, one.status, one.name)
        for one in document.asked.promises
        if one.result != "broken"
    )
    yield from _listed("kept" if document.closed else "kept so far", kept)
    yield from _listed("accepted", tuple(
        f"{one.what}, because {one.because}" for one in document.asked.excuses if one.kind == "accepted"
    ))  # fmt: skip
    yield from _listed("warning", document.warnings)
    if not document.failing:
        # a counterexample needs no assumption but its own; the absence of one is worth what they are worth
        yield from _listed("model", document.assumptions)
        yield from _listed("not explored", document.unexplored)
        yield from _listed("open", document.open_because)
    yield from _listed("confirmed", (document.confirmed,) if document.confirmed else ())
    yield from _listed("counts", _counts(document))


def _title(kind: str, status: int, name: str) -> str:
    return f"told {status}: {name}" if kind == "told" else name


def _listed(title: str, lines: tuple[str, ...]) -> Iterator[str]:
    for number, line in enumerate(lines):
        for piece, wrapped in enumerate(textwrap.wrap(line, _WIDTH - 16)):
            yield f"  {title if number == piece == 0 else '':<13} {wrapped}"


# ── a counterexample ────────────────────────────────────────────────────────────────────────────


def counterexample(one: Counterexample) -> Iterator[str]:
    """A failing history, in lanes, and what was asked about it."""
    yield f"  BROKEN  {one.promise}   [{one.severity}{f': {one.costs}' if one.costs else ''}]"
    yield f"  {one.enough}"
    yield ""
    yield f"  {'what happened':<{_LEFT}} │ what the caller was told"
    yield from _lanes(brief(one.steps))
    yield ""
    if one.stuck:
        yield "  From here nothing helps: even if nothing fails any more, no attempt reaches a rest in which the promise is true."
    yield from _listed("the world", one.world)
    yield from _listed("minimal", tuple(_minimal(one)))
    if one.twin is not None:
        yield from _listed("the twin", (f"the same without {one.twin.without}: {one.twin.ending}",))
    yield from _listed("assumes", one.assumptions)
    for remedy in one.remedies:
        yield from _listed("remedy", tuple(_remedy(remedy)))
    yield from _listed("also here", tuple(str(site) for site in one.similar_sites))
    if one.replay.command:
        yield from _listed("see it again", (one.replay.command, *filter(None, [one.replay.pytest])))


def _lanes(steps: tuple[Entry | int, ...]) -> Iterator[str]:
    lane: tuple[int, str] | None = None
    for step in steps:
        if isinstance(step, int):
            yield f"  {f'    … {step} more as they should be':<{_LEFT}} │"
            continue
        if (step.attempt, step.actor) != lane:
            lane = (step.attempt, step.actor)
            title = f"attempt {step.attempt}: {step.actor}" if step.attempt else step.actor
            yield f"  {f'── {title} ':─<{_LEFT}}─┼{'─' * _RIGHT}"
        yield from _step(step)


def _step(step: Entry) -> Iterator[str]:
    mark = "✗" if step.fault else "◆" if step.irreversible else " "
    left = textwrap.wrap(step.happened, _LEFT - 5) or [""]
    right = textwrap.wrap(step.told, _RIGHT - 2)
    notes = [f"at {step.site}"] if step.site else []
    if step.irreversible:
        notes.append("◆ the first step that cannot be taken back")
    left = [
        f"{mark} {left[0]}",
        *(f"      {piece}" for piece in left[1:]),
        *(f"    {note}" for note in notes),
    ]
    for n in range(max(len(left), len(right))):
        a = left[n] if n < len(left) else ""
        b = right[n] if n < len(right) else ""
        yield f"  {a:<{_LEFT}} │ {b}".rstrip()


def _minimal(one: Counterexample) -> Iterator[str]:
    if one.needs and all(need.result == "vanishes" for need in one.needs):
        yield "checked: without any one of its faults it vanishes"
        return
    for need in one.needs:
        if need.result == "remains":
            yield f"without the {need.fault} of step {need.step} it is still there"
        elif need.result == "unchecked":
            yield f"not checked for the {need.fault} of step {need.step}: {need.why}"


def _remedy(remedy: Remedy) -> Iterator[str]:
    yield f"{remedy.kind} ({remedy.confidence}): {remedy.advice}"
    yield f"because {remedy.because}{_places(remedy.sites)}"
    yield checked(remedy.check)


def _places(sites: tuple[Site, ...]) -> str:
    return f" (at {', '.join(map(str, sites))})" if sites else ""


def checked(check: Check) -> str:
    """What a check said, as a sentence."""
    if check.result == "unchecked":
        return f"not checked: {check.why}"
    applied = " and ".join((check.applied, *check.together_with))
    said = {
        "holds": f"this promise HOLDS in the model ({check.within}; {check.states:,} states, closed)",
        "not broken": f"this promise is not broken in {check.states:,} states ({check.within}; the graph did not close)",
        "breaks": f"this promise still breaks{f': {check.why}' if check.why else ''}",
    }[check.result]
    then = f", but then this breaks: {', '.join(check.then_breaks)}" if check.then_breaks else ""
    return f"checked: {applied}, {said}{then}"


# ── the consequence map ─────────────────────────────────────────────────────────────────────────


def _map(table: Map) -> Iterator[str]:
    yield "  what one fault leads to, if the caller then asks again and nothing else fails"
    for row in table.rows:
        label = textwrap.shorten(row.op, _STEP, placeholder="…")
        for number, line in enumerate(textwrap.wrap(_consequences(row), _WIDTH - _STEP - 5)):
            yield f"  {label if number == 0 else '':<{_STEP}}   {line}"
    costs = sorted({cell.costs for row in table.rows for cell in row.cells if cell.costs})
    yield from _listed("money", tuple(costs))
    yield from _listed("partial", (table.partial,) if table.partial else ())


def _consequences(row: Row) -> str:
    """The faults by what they lead to, what is kept last."""
    faults: dict[str, list[str]] = {}
    for cell in sorted(row.cells, key=lambda cell: cell.consequence == "kept"):
        faults.setdefault(cell.consequence, []).append(cell.fault)
    if set(faults) == {"kept"}:
        return "kept"
    return "; ".join(
        f"{word.upper() if word != 'kept' else word}: {', '.join(f)}" for word, f in faults.items()
    )


def _counts(document: Document) -> tuple[str, ...]:
    n = document.numbers
    first = "" if n.first_s is None else f", the first broken promise after {n.first_s:.2f} s"
    return (
        f"in memory: {n.states:,} states, {n.steps:,} steps, from {n.histories:,} local histories and {n.worlds:,} worlds",
        f"for real: {n.runs:,} executions of the code and {n.repeated:,} to compare, {n.effects:,} operations on the world",
        f"{n.seconds:.2f} s{first}",
    )
