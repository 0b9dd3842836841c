"""A document for a coding assistant: plain text that says what is wrong, where, what would help, and what not to do.

It never edits. It ends with what to run after an edit, and with what must stay as it is: a promise that is deleted or an
acceptance that is added would make the test pass, and would be told as weakened.
"""

from __future__ import annotations

from collections.abc import Iterator

from troth.lab.show.document import Counterexample, Document, Entry, Remedy
from troth.lab.show.terminal import checked, headline


def explain(document: Document, only: Counterexample | None = None) -> str:
    """The text. `only` one of its counterexamples, or all."""
    return "\n".join(_explained(document, (only,) if only else document.counterexamples))


def _explained(document: Document, examples: tuple[Counterexample, ...]) -> Iterator[str]:
    yield f"# {headline(document)}"
    yield ""
    if document.verdict == "DISAGREED":
        yield f"{document.reason}. This is a defect of the lab, or of a driver under it; do not rely on its verdicts about this code."
        yield ""
    elif document.reason:
        yield f"The lab refuses to speak about this code: {document.reason}"
        yield "Remove the cause, or exclude it in the test with a reason (lab.ignore(..., because=...)) if it cannot matter."
        yield ""
    if not document.counterexamples:
        yield "No promise is broken."
        yield from _section("Assumed", document.assumptions)
        yield from _section("Not explored", document.unexplored)
        yield from _section("Open because", document.open_because)
    for one in examples:
        yield from _counterexample(one)
    yield from _section("The test was weakened since its last verdict", document.weakened)
    yield from _section("Warnings", document.warnings)
    if examples:
        yield from _rules(document, examples)


def _section(title: str, lines: tuple[str, ...]) -> Iterator[str]:
    if lines:
        yield f"## {title}"
        yield from (f"- {line}" for line in lines)
        yield ""


def _counterexample(one: Counterexample) -> Iterator[str]:
    yield f"## {one.id}: the promise {one.promise!r} is broken"
    costs = f", costs {one.costs}" if one.costs else ""
    yield f"Severity: {one.severity}{costs}. {one.enough}"
    yield ""
    yield "The history (each step: what really happened | what the code or the caller was told):"
    for step in one.steps:
        yield from _step(step)
    if one.stuck:
        yield "From there no attempt ever reaches a rest in which the promise is true, even if nothing fails any more."
    yield f"The world then: {'; '.join(one.world) or 'as in the beginning'}"
    if one.needs:
        needed = [need for need in one.needs if need.result == "vanishes"]
        yield f"Faults that are necessary (checked): {len(needed)} of {len(one.needs)}"
    if one.twin is not None:
        yield f"The same without {one.twin.without}: {one.twin.ending}"
    for line in one.assumptions:
        yield f"Assumes: {line}"
    yield ""
    for number, remedy in enumerate(one.remedies, start=1):
        yield from _remedy(number, remedy)
    if not one.remedies:
        yield "No known class of remedies fits the evidence."
        yield ""
    if one.similar_sites:
        yield f"The same is done at: {', '.join(map(str, one.similar_sites))}"
        yield ""


def _step(step: Entry) -> Iterator[str]:
    marks = [
        *([f"FAULT: {step.fault}"] if step.fault else []),
        *(["IRREVERSIBLE"] if step.irreversible else []),
    ]
    mark = f" [{', '.join(marks)}]" if marks else ""
    who = f"attempt {step.attempt}" if step.attempt else step.actor
    site = f"  ({step.site})" if step.site else ""
    yield f"{step.number}. {who}: {step.happened} | {step.told or '-'}{mark}{site}"


def _remedy(number: int, remedy: Remedy) -> Iterator[str]:
    yield f"Remedy {number}: {remedy.kind} ({remedy.confidence})"
    yield f"  do:       {remedy.advice}"
    steps = f" (steps {', '.join(map(str, remedy.steps))})" if remedy.steps else ""
    yield f"  because:  {remedy.because}{steps}"
    yield f"  where:    {', '.join(map(str, remedy.sites)) or 'see the steps'}"
    yield f"  {checked(remedy.check)}"
    yield ""


def _rules(document: Document, examples: tuple[Counterexample, ...]) -> Iterator[str]:
    yield "## After an edit"
    for one in examples:
        if one.replay.command:
            yield f"1. {one.replay.command}   (this history again)"
            break
    again = next((one.replay.pytest for one in examples if one.replay.pytest), "")
    yield f"2. {again or 'run the test again'}   (the whole search again: another history may break the same promise)"
    yield ""
    yield "## Must stay as it is"
    yield "Change the application, not the test. A promise that is removed or made weaker, a new acceptance, bound or ignored"
    yield "part, or a smaller overlap is reported as 'you weakened' beside the next verdict. Promised is:"
    for promise in document.asked.promises:
        told = f" {promise.status}" if promise.kind == "told" else ""
        yield f"- {promise.kind}{told}: {promise.name} [{promise.severity}] {promise.result}"
    for excuse in document.asked.excuses:
        yield f"- {excuse.kind}: {excuse.what}{f', because {excuse.because}' if excuse.because else ''}"
