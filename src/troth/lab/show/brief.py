"""A history in few lines: what a person must see of it, in at most eight steps."""

from __future__ import annotations

from troth.lab.show.document import Entry

MOST = 8


def brief(steps: tuple[Entry, ...], most: int = MOST) -> tuple[Entry | int, ...]:
    """The steps that matter most, in order; a number stands for so many that were left out.

    Faults are never left out, then come the step that cannot be taken back, the last change and answers.
    """
    ranked = sorted(range(len(steps)), key=lambda n: (-_weight(steps, n), -n))
    kept = {n for n in ranked if steps[n].fault} | set(ranked[:most])
    shown: list[Entry | int] = []
    for number, step in enumerate(steps):
        if number in kept:
            shown.append(step)
        elif shown and isinstance(shown[-1], int):
            shown[-1] += 1
        else:
            shown.append(1)
    return tuple(shown)


def _weight(steps: tuple[Entry, ...], number: int) -> int:
    step = steps[number]
    last = max((n for n, one in enumerate(steps) if one.changes), default=-1)
    if step.fault:
        return 5
    if step.irreversible or number == last:
        return 4
    if number == len(steps) - 1:
        return 3
    return 2 if step.told.startswith("→") else 1 if step.changes else 0
