"""A history that broke a promise, kept as data and carried out again: after a change of the code it is the first thing to try."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import msgspec

from troth.lab.model import Observation, Outcome, Refused, Step
from troth.lab.show.document import Numbers
from troth.lab.verdict import Verdict

if TYPE_CHECKING:
    from troth.lab.model import State
    from troth.lab.promise import Judge
    from troth.lab.scenario import Scenario
    from troth.lab.steps import Moves
    from troth.lab.tables import Tables

SCHEMA = "troth.lab/1"


class Kept(msgspec.Struct, frozen=True):
    """A history in a file. `report` is what people were shown."""

    id: str
    test: str
    promise: str
    faults: tuple[str, ...]
    schedule: tuple[tuple[Any, ...], ...]
    report: str = ""
    schema: str = SCHEMA


def kept_steps(steps: list[Step], tables: Tables) -> tuple[tuple[object, ...], ...]:
    """The steps without anything that another run would number otherwise."""
    return tuple(
        (
            step.action,
            step.actor,
            step.memory,
            step.slot,
            step.slots,
            step.told if step.action in {"crash", "expire"} else 0,
            step.outcome.name if step.outcome else "",
            asked_of(tables, step.op) if step.op >= 0 else "",
        )
        for step in steps
    )


def asked_of(tables: Tables, op: int) -> str:
    """What an operation is known by in a file. Of a statement only a digest: some drivers write their parameters into it."""
    text = tables.ops[op].text
    return hashlib.sha256(text.encode()).hexdigest()[:16] if tables.ops[op].kind == "sql" else text


def id_of(title: str, promise: str, schedule: tuple[tuple[object, ...], ...]) -> str:
    """Eight characters that stand for the history."""
    return hashlib.sha256(msgspec.json.encode([title, promise, schedule])).hexdigest()[:8]


def rerun(scenario: Scenario, kept: Kept) -> Verdict:
    """Carry the history out in real processes, and ask the promise again.

    A promise about what can still become true is asked of everything that can happen after the history, when nothing fails any more.

    Returns:
        VIOLATED: it is still broken. BOUNDED: this history is harmless now (others may not be). DISAGREED: the code goes another way.
    """
    from troth.lab.habits import Habits
    from troth.lab.processes import Disagreement, Replay
    from troth.lab.proof import Proof
    from troth.lab.steps import Limits, Moves

    started = time.monotonic()
    proof = Proof(scenario, Limits(), Habits(), started, None, confirm=True)
    number = next((n for n, one in enumerate(scenario.promises) if one.title == kept.promise), None)
    if number is None:
        return Verdict(
            "REFUSED",
            scenario.name,
            reason=f"the test promises nothing called {kept.promise!r} any more",
        )
    try:
        with proof.ready() as (tables, judge, start, zygote):
            assert zygote is not None
            replay = Replay(tables, zygote, start.world)
            replay.run(list(map(_step, kept.schedule)))
            moves = Moves(tables, judge, Limits(survived=_ANY, overlap=_ANY, in_flight=_ANY))
            states = followed(moves, start, kept.schedule)
            broken = breaks(moves, judge, number, states)
    except Refused as refused:
        return Verdict("REFUSED", scenario.name, reason=str(refused))
    except Disagreement as different:
        reason = f"the code goes another way than when {kept.id} was found: {different}"
        return Verdict("DISAGREED", scenario.name, reason=reason)
    finally:
        for database in scenario.databases:
            database.close()
    seconds = Numbers(runs=tables.runs, seconds=time.monotonic() - started)
    if broken:
        return Verdict(
            "VIOLATED",
            scenario.name,
            reason=f"still broken by {kept.id}: {kept.promise}\n{kept.report}",
            counts=seconds,
        )
    if broken is None:
        reason = f"the history {kept.id} was carried out, and what can follow it is too much to say more; prove it again"
    else:
        reason = f"the history {kept.id} was carried out and breaks nothing now; others may; prove it again"
    return Verdict("BOUNDED", scenario.name, open_because=(reason,), counts=seconds)


_ANY = 99
"""The history says how far it goes."""


def followed(moves: Moves, start: State, schedule: tuple[tuple[Any, ...], ...]) -> list[State]:
    """The states of the model on the way, the first and the last among them.

    Raises:
        Disagreement: there is no such way.
    """
    from troth.lab.processes import Disagreement

    states = [start]
    for kept in schedule:
        wanted = _step(kept)
        edges = [
            (step, after) for step, after, _ in moves.of(states[-1]) if _alike(moves, step, wanted)
        ]
        if not edges:
            raise Disagreement(f"there is no step {wanted.action} {wanted.word!r} any more")
        edges.sort(
            key=lambda edge: edge[0].memory != wanted.memory
        )  # memories may be numbered otherwise
        states.append(edges[0][1])
    return states


def _alike(moves: Moves, step: Step, wanted: Step) -> bool:
    from troth.lab.tables import Tables

    tables = moves.program
    assert isinstance(tables, Tables)
    text = asked_of(tables, step.op) if step.op >= 0 else ""
    if wanted.action in {"crash", "expire"} and step.told != wanted.told:
        return False
    return (
        (step.action, step.slot, bool(step.memory)) == (wanted.action, wanted.slot, bool(wanted.memory))
        and wanted.actor in {step.actor, -1}
        and text == wanted.word
        and (step.outcome.name if step.outcome else "") == (wanted.outcome.name if wanted.outcome else "")
    )  # fmt: skip


def breaks(moves: Moves, judge: Judge, promise: int, states: list[State]) -> bool | None:
    """Whether the promise is broken on the way, or cannot be kept any more after it. None: that is too much to follow."""
    from troth.lab.search import broken
    from troth.lab.study.calm import first_broken, reach

    if any(broken(judge, state, {promise}) for state in states):
        return True
    if judge.promises[promise].kind != "eventually":
        return False
    after = reach(moves, states[-1])
    return promise in first_broken(judge, after, {promise}) if after.whole else None


def _step(kept: tuple[Any, ...]) -> Step:
    action, actor, memory, slot, slots, told, outcome, text = kept
    named = (
        Outcome(outcome, happens=True, told="answer", observation=Observation(text))
        if outcome
        else None
    )
    return Step(
        action,
        actor,
        memory=memory,
        slot=slot,
        slots=tuple(slots),
        told=told,
        outcome=named,
        word=text,
    )
