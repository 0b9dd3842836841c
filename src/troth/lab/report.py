"""A verdict as text for a terminal: lanes with two columns, what happened and what the caller was told."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator

from troth.lab.verdict import Counterexample, Line, Verdict

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
_PLURALS = {
    "crash": "crashes",
    "busy database": "busy databases",
    "crash with an effect under way": "crashes with an effect under way",
    "key that has expired": "keys that have expired",
}
_LEFT, _RIGHT = 72, 46


def render(verdict: Verdict) -> str:
    """The whole report."""
    return "\n".join(_report(verdict))


def summary(verdict: Verdict) -> str:
    """The verdict in one line."""
    counts = verdict.counts
    numbers = f"{counts.states:,} states, {counts.steps:,} steps, {counts.runs:,} real runs, {counts.seconds:.2f} s"
    return f"{verdict.word}  {verdict.title}: {_what(verdict)} ({numbers})"


def _what(verdict: Verdict) -> str:
    if verdict.word == "REFUSED":
        return "the lab cannot speak about this code"
    broken = "broken: " + ", ".join(one.promise.title for one in verdict.counterexamples)
    if verdict.word == "VIOLATED":
        return broken
    state = (
        "the graph closed under the model below" if verdict.closed else "the graph did not close"
    )
    return f"{broken if verdict.counterexamples else 'nothing broken'}; {state}"


def _report(verdict: Verdict) -> Iterator[str]:
    yield summary(verdict)
    for one in verdict.counterexamples:
        yield ""
        yield from _counterexample(one)
    yield ""
    yield from _listed("because", (verdict.reason,) if verdict.reason else ())
    yield from _listed(
        "kept" if verdict.closed else "kept so far", tuple(one.title for one in verdict.kept)
    )
    yield from _listed("accepted", verdict.accepted)
    yield from _listed("warning", verdict.warnings)
    if (
        verdict.word == "BOUNDED"
    ):  # a counterexample needs no assumption; its absence is worth what they are worth
        yield from _listed("model", verdict.model)
        yield from _listed("not explored", verdict.unexplored)
        yield from _listed("open", verdict.open_because)
    yield from _listed("counts", _counts(verdict))


def _listed(title: str, lines: tuple[str, ...]) -> Iterator[str]:
    for number, line in enumerate(lines):
        for piece, text in enumerate(textwrap.wrap(line, _LEFT + _RIGHT - 11)):
            yield f"  {title if number == piece == 0 else '':<13} {text}"


def _counterexample(one: Counterexample) -> Iterator[str]:
    promise = one.promise
    yield f"  BROKEN  {promise.title}   [{promise.severity}{f': {promise.costs}' if promise.costs else ''}]"
    yield f"  {enough(one.faults)}"
    yield ""
    yield f"  {'what happened':<{_LEFT}} │ what the caller was told"
    attempt = 0
    for line in one.lines:
        if line.attempt != attempt:
            attempt = line.attempt
            title = f"attempt {attempt}: {line.actor}" if attempt else line.actor
            yield f"  {f'── {title} ':─<{_LEFT}}─┼{'─' * _RIGHT}"
        yield from _lane(line)
    yield ""
    if one.stuck:
        yield "  From here nothing helps: even if nothing fails any more, no attempt reaches a rest in which the promise is true."
    yield from _listed("the world", one.world)


def _lane(line: Line) -> Iterator[str]:
    mark = "✗" if line.fault else "◆" if line.irreversible else " "
    left = textwrap.wrap(line.happened, _LEFT - 5) or [""]
    right = textwrap.wrap(line.told, _RIGHT - 2)
    notes = [f"at {line.site}"] if line.site else []
    if line.irreversible:
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


def enough(faults: tuple[str, ...]) -> str:
    """How little it takes, as a sentence."""
    if not faults:
        return "No fault is needed."
    counted = [
        f"{_NUMBERS[many] if many < len(_NUMBERS) else many} {kind if many == 1 else _PLURALS.get(kind, kind + 's')}"
        for kind, many in Counter(faults).items()
    ]
    sentence = f"{' and '.join(counted)} {'is' if len(faults) == 1 else 'are'} enough."
    return sentence[0].upper() + sentence[1:]


def _counts(verdict: Verdict) -> tuple[str, ...]:
    counts = verdict.counts
    return (
        f"in memory: {counts.states:,} states, {counts.steps:,} steps, from {counts.histories:,} local histories and {counts.worlds:,} worlds",
        f"for real: {counts.runs:,} executions of the code and {counts.repeated:,} to compare, {counts.effects:,} operations on the world",
        f"{counts.seconds:.2f} s"
        + (
            "" if counts.first is None else f", the first broken promise after {counts.first:.2f} s"
        ),
    )
