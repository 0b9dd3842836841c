"""The search against chance: random faults on the real code never lead to a world that the closed graph does not have."""

from __future__ import annotations

import random

import pytest

from tests.lab.corpus import CORRECT, Case
from troth.lab import Lab, proof
from troth.lab.edge.attempt import Attempt, Stopped
from troth.lab.model import Observation, Op

ATTEMPTS = 60
WALKS = 4


class Walk:
    """One user of one scenario at a time, in one world after another, with up to two survived faults per attempt."""

    def __init__(self, tables, chance: random.Random) -> None:
        self.tables = tables
        self.chance = chance
        self.world = 0
        self.faults = 0
        self.place = (0, 0)
        self.answer = None

    def respond(self, op: Op, site: str) -> Observation:
        if self.chance.random() < 0.1:
            raise Stopped  # the process dies
        branches = self.tables.branches(*self.place, self.tables.ops.add(op))
        branch = branches[0]
        if self.chance.random() < 0.3 and self.faults < 2:
            branch = self.chance.choice(branches)
            self.faults += branch.outcome.survived
        self.place = (branch.world, branch.opened)
        if branch.told:
            self.answer = self.tables.answers[branch.told - 1]
        return self.tables.observations[branch.observation]

    def attempt(self, actor, stage) -> bool:
        """Whether this actor asks again."""
        self.place, self.faults, self.answer = (self.world, 0), 0, None
        attempt = Attempt(self.respond)
        stage.run(attempt, actor.call.invoke)
        self.world = self.tables.rest(self.place[0], memory=0)
        self.tables.memory.restore(0)  # the next one is served by a fresh process
        return actor.again(self.answer)


@pytest.mark.parametrize("case", CORRECT, ids=lambda case: case.name)
def test_chance_stays_inside(lab: Lab, case: Case, monkeypatch):
    outside, walked = [], []
    judged = proof._Proof._judged

    def also_by_chance(self, tables, graph, findings):
        known = {state.world for state in graph.parents}
        for seed in range(WALKS):
            walk = Walk(tables, random.Random(seed))
            asking = list(tables.actors)
            for _ in range(ATTEMPTS):
                if not asking:
                    break
                actor = walk.chance.choice(asking)
                if not walk.attempt(actor, tables._stage):
                    asking.remove(actor)
                walked.append(walk.world)
                if walk.world not in known:
                    outside.append(walk.world)
        return judged(self, tables, graph, findings)

    monkeypatch.setattr(proof._Proof, "_judged", also_by_chance)
    case.describe(lab)
    verdict = lab.explore(budget=30)
    assert verdict.closed, str(verdict)
    assert len(walked) >= WALKS
    assert outside == []
