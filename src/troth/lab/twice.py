"""Two executions of the same history: what may differ between them, and what must not."""

from __future__ import annotations

from troth.lab import moments
from troth.lab.describe import described
from troth.lab.edge import clock
from troth.lab.model import Observation, Op, tupled
from troth.lab.world import decode, encode

OTHER = 10_000
"""How far the seeds of the second execution are from those of the first."""


def renamed(seen: Observation, seeds: list[int]) -> Observation:
    """What the second execution observes, if what it drew itself comes back to it."""
    first = data = encode([seen.value, seen.error])
    for seed in seeds:
        data = clock.names.renamed(data, seed, seed + OTHER)
    return seen if data == first else Observation(*map(tupled, decode(data)))


def same(expected: Op, op: Op, seeds: list[int], ticks: list[int]) -> bool:
    """Whether two operations are the same, but for the ticks and random values that were copied into them."""
    theirs, mine = (
        encode([expected.target, expected.params, expected.handle]),
        encode([op.target, op.params, op.handle]),
    )
    for seed in seeds:
        mine = clock.names.renamed(mine, seed + OTHER, seed)
    if mine == theirs:
        return True
    first = {tick: tick for tick in ticks}
    second = {tick + moments.WHOLE_DAYS: tick for tick in ticks}
    return moments.marked(decode(mine), second) == moments.marked(decode(theirs), first)


def nondeterminism(expected: Op | None, op: Op | None, site: str) -> str:
    """Why a verdict is refused: the second time the code asked something else."""
    if expected and op and (expected.kind, expected.text) == (op.kind, op.text):
        difference = f"asked {described(op)!r} with other parameters"
    else:
        difference = f"{_asked(expected)} in one run, and {_asked(op)} in another"
    return (
        f"the same observations did not lead to the same operations: the code {difference}{f' (at {site})' if site else ''}. "
        "It depends on something that the lab does not see: a global, the order of a set, a clock, randomness in C"
    )


def _asked(op: Op | None) -> str:
    return "ended" if op is None else f"asked {described(op)!r}"
