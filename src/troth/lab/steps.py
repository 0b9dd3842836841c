"""What can happen next in a state: pure, over small integers.

Any live attempt makes its next operation, with every outcome, or dies; a caller asks, or asks again although an attempt of its is
still running; an effect that is under way lands; a provider forgets a key. What is not listed cannot happen in the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from troth.lab import clients
from troth.lab.faults import SAME_TICK
from troth.lab.model import ASKING, GONE, Attempt, Branch, Next, State, Step
from troth.lab.program import Judging, Program

Edge = tuple[Step, State, int]
"""How, to where, and at what cost."""


FORFEIT = 2
"""`Step.told` of a crash: 1, an effect that was just sent is under way; 2, what was held is taken for done."""


@dataclass(frozen=True)
class Limits:
    """How far the search goes.

    `overlap`: attempts alive at once. `in_flight`: effects that may be under way when their callers have given up. `expiry`: whether
    providers forget keys. `survived`: episodes of errors that one attempt may survive. `persists`: how often one episode may hit
    the same call, while a client tries again. `growth`: after so many similar worlds on one path, each with more in it, the path is cut.
    `seconds`: wall clock. `aftermath`: once a promise is broken, the search for others goes on for as long as it took until then, and
    at least so long.
    """

    survived: int = 2
    overlap: int = 2
    in_flight: int = 1
    expiry: bool = True
    persists: int = 5
    growth: int = 5
    seconds: float = 60.0
    aftermath: float = 2.0


class Moves:
    """The edges of the graph."""

    def __init__(self, program: Program, judge: Judging, limits: Limits) -> None:
        self.program = program
        self._judge = judge
        self._limits = limits

    def of(self, state: State) -> Iterator[Edge]:
        """Everything that can happen next.

        What only its own attempt can notice happens at once: in which order others do something beside it makes no difference.
        """
        pending = [
            self.program.following(one.history, state.world, one.opened) for one in state.attempts
        ]
        for slot, following in enumerate(pending):
            if following.op is None:
                yield self._end(state, slot, following.memory)
                return
        for slot, following in enumerate(pending):
            if following.op is not None and self.program.local(
                following.op, state.attempts[slot].opened
            ):
                yield from self._operation(state, slot, following.op)
                return
        blocked: dict[int, Branch] = {}
        for slot, following in enumerate(pending):
            assert following.op is not None
            if slot and state.attempts[slot] == state.attempts[slot - 1]:
                if slot - 1 in blocked:
                    blocked[slot] = blocked[slot - 1]
                continue  # two that are in the same place are alike
            yield from self._crashes(state, slot, following.op)
            yield from self._operation(state, slot, following.op, blocked)
        yield from self._deadlocks(state, pending, blocked)
        yield from self._starts(state)
        yield from self._landings(state)
        yield from self._expiries(state)
        yield from self._lapses(state, waiting=len(blocked) == len(state.attempts))

    # ── an attempt goes on, or ends ─────────────────────────────────────────────────────────────

    def _operation(
        self, state: State, slot: int, op: int, blocked: dict[int, Branch] | None = None
    ) -> Iterator[Edge]:
        state = self.program.refreshed(state, op)
        attempt = state.attempts[slot]
        others = _others(state, slot)
        for branch in self.program.branches(state.world, attempt.opened, others, op):
            if branch.outcome.name == "blocked":
                if blocked is not None:
                    blocked[slot] = branch
                continue
            if branch.outcome.late and len(state.flying) >= self._limits.in_flight:
                continue
            edge = self._branch(state, slot, op, branch)
            if edge is not None:
                yield edge

    def _branch(self, state: State, slot: int, op: int, branch: Branch) -> Edge | None:
        attempt = state.attempts[slot]
        moved = self._survive(attempt, op, branch)
        if moved is None:
            return None
        after, cost = moved
        attempts, slots = _placed(state.attempts, slot, after)
        step = Step(
            "op",
            attempt.actor,
            attempt.history,
            op,
            branch.outcome,
            before=state.world,
            after=branch.world,
            observation=branch.observation,
            told=branch.told,
            cost=cost,
            word=branch.outcome.word,
            slot=slot,
            slots=slots,
        )
        heard, folds, flying = state.heard, state.folds, state.flying
        if branch.told:
            heard |= self.program.hears(branch.told)
        if branch.outcome.late:
            flying = tuple(sorted((*flying, op)))
        if branch.world != state.world:
            folds = self._judge.folds(branch.world, folds)
        now = self._after(state, branch.world)
        if branch.outcome.cost or branch.outcome is SAME_TICK:
            now = clients.disturbed(self.program, now, (attempt.actor,))
        result = State(branch.world, attempts, state.idle, now, heard, folds, flying)
        return step, result, cost

    def _after(self, state: State, world: int) -> tuple[int, ...]:
        """The clients when the world has become this one."""
        if world == state.world:
            return state.clients
        return clients.disturbed(self.program, state.clients, range(len(state.clients)))

    def _survive(self, attempt: Attempt, op: int, branch: Branch) -> tuple[Attempt, int] | None:
        """The attempt after a branch and what it costs; None if that is beyond the limits.

        A fault that goes on while the client tries the same call again is the same fault: it costs nothing more.
        """
        call, cost = self.program.call(op), branch.outcome.cost
        survived, failing, streak = attempt.survived, attempt.failing, attempt.streak
        if not branch.outcome.survived:
            if failing and failing[0] == call:
                failing, streak = (), 0
            if attempt.left and not branch.told and branch.outcome.word == "lost response":
                cost = 0  # nobody was listening
        elif self.program.sends_again(op):
            cost = 1
        elif (call, branch.observation) == failing:
            if streak >= self._limits.persists:
                return None
            streak, cost = streak + 1, int(branch.outcome.late)
        elif survived == self._limits.survived:
            return None
        else:
            survived, failing, streak = survived + 1, (call, branch.observation), 1
        history, opened, over = self.program.after(attempt.history, branch)
        if over:
            survived, failing, streak = 0, (), 0
        told = branch.told or attempt.told
        return Attempt(
            attempt.actor, history, opened, survived, failing, streak, told, attempt.left
        ), cost

    def _crashes(self, state: State, slot: int, op: int) -> Iterator[Edge]:
        """The process dies before the operation, or when it has just sent an effect that will land later."""
        yield self._gone(state, slot, Step("crash", op=op, cost=1, word="crash"), memory=0)
        if len(state.flying) < self._limits.in_flight and self.program.late(op):
            world = self.program.sent(state.world, op, dead=True)
            sent = state._replace(world=world, flying=tuple(sorted((*state.flying, op))))
            step = Step("crash", op=op, cost=1, word="crash with an effect under way", told=1)
            yield self._gone(sent, slot, step, memory=0)
        world = self.program.forfeited(state.world, state.attempts[slot].opened)
        if world != state.world:
            folds = self._judge.folds(world, state.folds)
            gone = state._replace(world=world, clients=self._after(state, world), folds=folds)
            step = Step("crash", op=op, cost=1, word="lost worker", told=FORFEIT)
            yield self._gone(gone, slot, step, memory=0)

    def _end(self, state: State, slot: int, memory: int) -> Edge:
        return self._gone(state, slot, Step("end"), memory)

    def _gone(self, state: State, slot: int, step: Step, memory: int) -> Edge:
        attempt = state.attempts[slot]
        now = clients.ended(
            state.clients,
            attempt.actor,
            final=self.program.final(attempt.actor, attempt.told),
            died=step.action == "crash",
        )
        kept = [n for n in range(len(state.attempts)) if n != slot]
        idle = tuple(sorted((*state.idle, memory))) if memory else state.idle
        step = step._replace(
            actor=attempt.actor,
            history=attempt.history,
            before=state.world,
            after=state.world,
            slot=slot,
        )
        attempts = state.attempts[:slot] + state.attempts[slot + 1 :]
        after = State(state.world, attempts, idle, now, state.heard, state.folds, state.flying)
        return self._canonical(step, after, kept)

    def _deadlocks(
        self, state: State, pending: list[Next], blocked: dict[int, Branch]
    ) -> Iterator[Edge]:
        """Who waits for somebody that waits for it, gets an error. Each of them may be the one."""
        waits = {
            slot: {
                other
                for other, one in enumerate(state.attempts)
                if other != slot and one.opened in branch.blockers
            }
            for slot, branch in blocked.items()
        }
        for slot, branch in blocked.items():
            reached, frontier = set[int](), set(waits[slot])
            while frontier:
                other = frontier.pop()
                if other not in reached:
                    reached.add(other)
                    frontier |= waits.get(other, set())
            op = pending[slot].op
            if slot in reached and op is not None:
                edge = self._branch(state, slot, op, branch)
                if edge is not None:
                    yield edge

    # ── somebody asks ───────────────────────────────────────────────────────────────────────────

    def _starts(self, state: State) -> Iterator[Edge]:
        if len(state.attempts) >= self._limits.overlap:
            return
        for actor in range(len(state.clients)):
            mine = sum(one.actor == actor for one in state.attempts)
            if mine >= self.program.overlap(actor):
                continue
            if not clients.may_begin(self.program, state, actor):
                continue
            if mine and self.program.final(actor, 0):
                continue  # who does not ask again when no answer came does not ask a second time
            for memory in sorted({0, *state.idle}):
                idle = list(state.idle)
                if memory:
                    idle.remove(memory)
                room = self._limits.overlap - len(state.attempts) - 1  # so many processes there are
                for kept in {*combinations(idle, min(len(idle), room))}:
                    yield self._start(state._replace(idle=kept), actor, memory)

    def _start(self, state: State, actor: int, memory: int) -> Edge:
        history = self.program.begin(actor, memory)
        role = self.program.role(actor)
        left = tuple(
            one._replace(left=True) if one.actor == actor and role == "user" else one
            for one in state.attempts
        )
        attempts, slots = _placed((*left, Attempt(-1, -1)), len(left), Attempt(actor, history))
        cost = int(bool(state.attempts))
        same = any(one.actor == actor for one in state.attempts)
        step = Step(
            "start",
            actor,
            history,
            before=state.world,
            after=state.world,
            memory=memory,
            cost=cost,
            word=clients.BESIDE[role][0 if same else 1],
            slot=len(left),
        )
        now = clients.begun(self.program, state, actor)
        after = state._replace(attempts=attempts, clients=now)
        return self._canonical(step, after, [-1 if n == len(left) else n for n in slots])

    # ── what happens by itself ──────────────────────────────────────────────────────────────────

    def _landings(self, state: State) -> Iterator[Edge]:
        for op in sorted(set(state.flying)):
            flying = list(state.flying)
            flying.remove(op)
            world = self.program.land(state.world, op)
            step = Step("land", op=op, before=state.world, after=world)
            now = self._after(state, world)
            after = state._replace(world=world, clients=now, flying=tuple(flying))
            if world != state.world:
                after = after._replace(folds=self._judge.folds(world, state.folds))
            yield self._canonical(step, after, range(len(state.attempts)))

    def _expiries(self, state: State) -> Iterator[Edge]:
        """No attempt lives, and no effect is under way, for as long as a key does."""
        if not state.quiet or not self._limits.expiry:
            return
        for world, given_up in self.program.expiries(state.world):
            now = tuple(
                GONE if actor in given_up and client == ASKING else client
                for actor, client in enumerate(self._after(state, world))
            )
            step = Step(
                "expire", before=state.world, after=world, cost=1, word="key that has expired"
            )
            after = state._replace(world=world, clients=now)
            after = after._replace(folds=self._judge.folds(world, state.folds))
            edge = self._canonical(step, after, ())
            yield edge[0], edge[1], 1

    def _lapses(self, state: State, *, waiting: bool) -> Iterator[Edge]:
        """A key runs out. While nobody is at work, or all only wait, time passes by itself."""
        if not self._limits.expiry:
            return
        for number, (world, soon, given_up) in enumerate(self.program.lapses(state.world), start=1):
            if not (soon or state.quiet):
                continue
            clients = tuple(
                GONE if state.quiet and actor in given_up and client == ASKING else client
                for actor, client in enumerate(state.clients)
            )
            cost = int(not waiting)
            word = "key that has expired" if cost else "time passes"
            step = Step(
                "expire", before=state.world, after=world, told=number, cost=cost, word=word
            )
            after = state._replace(world=world, clients=clients)
            after = after._replace(folds=self._judge.folds(world, state.folds))
            yield self._canonical(step, after, range(len(state.attempts)))

    def _canonical(self, step: Step, state: State, slots: Sequence[int]) -> Edge:
        after = clients.settled(self.program, self.program.canonical(state))
        origin = list(slots)
        if after.attempts != state.attempts:
            attempts, order = _sorted(after.attempts)
            after = after._replace(attempts=attempts)
            origin = [origin[n] for n in order]
        return step._replace(slots=tuple(origin)), after, step.cost


def _others(state: State, slot: int) -> tuple[int, ...]:
    return tuple(
        sorted(one.opened for n, one in enumerate(state.attempts) if n != slot and one.opened)
    )


def _placed(
    attempts: tuple[Attempt, ...], slot: int, after: Attempt
) -> tuple[tuple[Attempt, ...], tuple[int, ...]]:
    """The attempts with one replaced, sorted, and where each was before."""
    if len(attempts) == 1:
        return (after,), (0,)
    return _sorted((*attempts[:slot], after, *attempts[slot + 1 :]))


def _sorted(attempts: tuple[Attempt, ...]) -> tuple[tuple[Attempt, ...], tuple[int, ...]]:
    order = sorted(range(len(attempts)), key=attempts.__getitem__)
    return tuple(attempts[n] for n in order), tuple(order)
