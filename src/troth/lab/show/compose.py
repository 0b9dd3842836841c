"""From a verdict to its document: everything plain, everything named, ids that the same verdict always has."""

from __future__ import annotations

from msgspec.structs import replace

from troth.lab import describe
from troth.lab.show import document as d
from troth.lab.show.shelf import digest
from troth.lab.show.words import enough
from troth.lab.verdict import Counterexample, Line, Verdict


def compose(verdict: Verdict, *, made: str = "", weakened: tuple[str, ...] = ()) -> d.Document:
    """The document of a verdict. `made`: when, as text; `weakened`: in how far its test asks for less than before."""
    examples = tuple(example(verdict, one) for one in verdict.counterexamples)
    plain = d.Document(
        d.SCHEMA,
        "",
        verdict.title,
        verdict.word,
        _summary(verdict),
        verdict.closed,
        verdict.test,
        "",
        verdict.reason,
        verdict.model,
        verdict.unexplored,
        verdict.confirmed,
        verdict.open_because,
        verdict.warnings,
        (),
        verdict.asked,
        examples,
        verdict.map,
    )
    number = digest(
        plain.key,
        plain.verdict,
        plain.closed,
        plain.reason,
        plain.asked,
        [one.id for one in examples],
    )[:8]  # of what was found, not of how long it took
    return replace(
        plain,
        id=number,
        made=made,
        weakened=weakened,
        numbers=replace(
            verdict.counts,
            seconds=round(verdict.counts.seconds, 3),
            first_s=None if verdict.counts.first_s is None else round(verdict.counts.first_s, 3),
        ),
    )


def _summary(verdict: Verdict) -> str:
    if verdict.word in {"REFUSED", "DISAGREED"}:
        return "the lab cannot speak about this code"
    if verdict.word == "HOLDS":
        return "every promise, under the model below"
    broken = "broken: " + ", ".join(one.promise.title for one in verdict.counterexamples)
    if verdict.word == "VIOLATED":
        return (
            broken if verdict.counterexamples else "a history that was found before still breaks it"
        )
    state = (
        "the graph closed under the model below" if verdict.closed else "the graph did not close"
    )
    return f"{broken if verdict.counterexamples else 'nothing broken'}; {state}"


def example(verdict: Verdict, one: Counterexample) -> d.Counterexample:
    """A counterexample of a verdict, as its document has it."""
    steps = tuple(_entry(line, number) for number, line in enumerate(one.lines, start=1))
    number = (
        one.id
        or digest(
            verdict.title,
            one.promise.title,
            one.faults,
            [(s.op, s.fault, s.attempt) for s in steps],
        )[:8]
    )
    return d.Counterexample(
        number,
        one.promise.title,
        one.promise.severity,
        one.promise.costs,
        one in verdict.failing,
        enough(one.faults),
        one.faults,
        steps,
        one.world,
        one.stuck,
        one.study.needs,
        one.study.twin,
        one.study.assumptions,
        one.study.remedies,
        one.study.similar_sites,
        True if verdict.confirmed else None,
        d.Replay(f"troth lab replay {number}", f'pytest "{verdict.test}"' if verdict.test else ""),
    )


def entries(lines: tuple[Line, ...]) -> tuple[d.Entry, ...]:
    """Lines of a history as steps of a document."""
    return tuple(_entry(line, number) for number, line in enumerate(lines, start=1))


def _entry(line: Line, number: int) -> d.Entry:
    return d.Entry(
        number,
        line.attempt,
        line.actor,
        line.happened,
        line.told,
        line.op,
        line.params,
        line.changes,
        describe.site(line.site),
        line.word if line.fault else "",
        line.irreversible,
    )
