"""The search against chance: random faults on the real code never lead to a world that the closed graph does not have."""

from __future__ import annotations

import random

import pytest

from tests.lab.corpus import CORRECT, Case, parameters
from troth.lab import Lab, proof
from troth.lab.edge.attempt import Attempt, Stopped
from troth.lab.model import Observation, Op

SLOW = frozenset({
    "answer_that_is_cached_after_the_commit",
    "async_client_with_a_key", "cache_of_what_never_changes", "framework_with_a_thread_and_a_background_task", "gives_up_honestly",
    "hook_with_an_inbox_by_object", "job_that_knows_what_was_done", "message_by_an_outbox",
    "key_for_today_and_a_question_for_tomorrow", "random_key_stored_before_use", "resumable_compensation", "retries_with_a_key",
})  # fmt: skip
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
        branches = self.tables.branches(*self.place, (), self.tables.ops.add(op))
        branches = tuple(one for one in branches if not one.outcome.late)
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
        self.world = self.tables.worlds.rest(self.place[0])
        self.tables.memory.restore(0)  # the next one is served by a fresh process
        return actor.again(self.answer)


class Beside:
    """Attempts beside each other and effects that land late, by chance, without any of the search's reductions."""

    def __init__(self, tables, limits, chance: random.Random) -> None:
        self.tables = tables
        self.limits = limits
        self.chance = chance
        self.world = 0
        self.attempts: list[list[int]] = []  # history, opened, faults, actor, told
        self.flying: list[int] = []
        self.asking = set(range(len(tables.actors)))

    def step(self) -> bool:
        """Something happens. False if nothing can any more."""
        moves = [(self.go_on, one) for one in self.attempts]
        moves += [(self.land, one) for one in self.flying]
        if len(self.attempts) < self.limits.overlap and self.chance.random() < 0.3 + (not moves):
            moves += [(self.start, one) for one in self.asking]
        if not moves:
            return False
        move, subject = self.chance.choice(moves)
        move(subject)
        if not self.attempts and not self.flying:
            self.world = self.tables.worlds.rest(self.world)
        return True

    def start(self, actor: int) -> None:
        mine = sum(one[3] == actor for one in self.attempts)
        if mine < self.tables.overlap(actor) and not (mine and self.tables.final(actor, 0)):
            self.attempts.append([self.tables.begin(actor, 0), 0, 0, actor, 0])

    def land(self, op: int) -> None:
        self.flying.remove(op)
        self.world = self.tables.land(self.world, op)

    def over(self, attempt: list[int]) -> None:
        self.attempts.remove(attempt)
        if self.tables.final(attempt[3], attempt[4]):
            self.asking.discard(attempt[3])

    def go_on(self, attempt: list[int]) -> None:
        history, opened, faults, _, _ = attempt
        op = self.tables.following(history, self.world, opened).op
        if op is None or self.chance.random() < 0.05:
            self.over(attempt)
            return
        others = tuple(sorted(one[1] for one in self.attempts if one is not attempt and one[1]))
        branches = self.tables.branches(self.world, opened, others, op)
        branch = branches[0]
        if self.chance.random() < 0.3 and faults < self.limits.survived:
            branch = self.chance.choice(branches)
        if branch.outcome.name == "blocked" or (
            branch.outcome.late and len(self.flying) >= self.limits.in_flight
        ):
            return
        if branch.outcome.late:
            self.flying.append(op)
        attempt[:3] = [
            self.tables.extend(history, branch.observation),
            branch.opened,
            faults + branch.outcome.survived,
        ]
        attempt[4] = branch.told or attempt[4]
        self.world = branch.world


@pytest.mark.parametrize("case", parameters(CORRECT, slow=SLOW))
def test_chance_with_two_attempts_stays_inside(lab: Lab, case: Case, monkeypatch):
    """Also a check of the reductions: what is merged and what is left out makes no difference to the worlds."""
    outside, walked = [], []
    judged = proof.Proof._judged

    def also_by_chance(self, tables, graph, findings):
        known = {state.world for state in graph.parents}
        for seed in range(WALKS * 5):
            walk = Beside(tables, self._limits, random.Random(seed))
            for _ in range(300):
                if not walk.step():
                    break
                if not walk.attempts and not walk.flying:
                    walked.append(walk.world)
                    if walk.world not in known:
                        outside.append(walk.world)
        return judged(self, tables, graph, findings)

    monkeypatch.setattr(proof.Proof, "_judged", also_by_chance)
    case.describe(lab)
    verdict = lab.explore(budget=60)
    assert verdict.closed, str(verdict)
    assert walked
    assert outside == []


@pytest.mark.parametrize("case", parameters(CORRECT, slow=SLOW))
def test_chance_stays_inside(lab: Lab, case: Case, monkeypatch):
    outside, walked = [], []
    judged = proof.Proof._judged

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

    monkeypatch.setattr(proof.Proof, "_judged", also_by_chance)
    case.describe(lab)
    verdict = lab.explore(budget=60, overlap=1, in_flight=0)
    assert verdict.closed, str(verdict)
    assert len(walked) >= WALKS
    assert outside == []
