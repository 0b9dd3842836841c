"""One effect after its answer was lost, as a finite model with a clock: retry, probe, ask a person.

The journal is abstracted to what `protocol` shows of it: an append of the run's owner is durable at once, one of
anybody else is refused. In exchange, time is counted here, in ticks. A call leaves within `SENT`; its sender gives it up
after `TIMEOUT`; it can land for `LANDS` more. It may also land in time, be
refused, or never arrive, whether anybody still listens or not. A probe begins, is answered (with what is true at that
moment), and its answer is read, with any time between them. A person looks, and decides any time later.

`Rules` are the decisions; each is on, and the search must find what goes wrong without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model.search import Violation

SENT = 1  # a call leaves within so many ticks of its intent: `SEND_WITHIN_S`, and a pause of at most `MARGIN_S`
TIMEOUT = 1
LANDS = 1
CLOCKS = 1  # how far apart two processes may read the database's clock
GONE_AFTER = SENT + TIMEOUT  # from the intent until its sender has given it up
LANDED_AFTER = GONE_AFTER + LANDS  # and until it cannot land any more
LIFETIME = (
    2 * (LANDED_AFTER + CLOCKS) + 2
)  # of a key: what is sent when nothing before can land fits into it

Move = tuple[str, "State", bool]


@dataclass(frozen=True)
class Rules:
    """The decisions about an effect that may have happened."""

    send_by_checked: bool = True
    successor_waits: bool = True  # the sender that it has replaced may still send
    takeover_is_unknown: bool = True  # an intent without an outcome is not "not done"
    missing_waits: bool = True  # `Missing` counts only when nothing can land any more,
    missing_counts_landing: bool = True  # and that is `LANDS` after the sender gave up,
    missing_counts_from_begin: bool = True  # and the probe must have begun after it,
    missing_allows_for_clocks: bool = True  # read on a clock that another process wrote
    lifetime_checked: bool = True  # the same key is sent again only while it is recognised,
    lifetime_counts_landing: bool = True  # not only when sent, but until it has landed
    refusal_is_its_own: bool = True  # says nothing of an earlier attempt that may still land
    late_is_its_own: bool = True  # nor does a late one say anything of another attempt
    result_is_final: bool = True  # nothing that comes late replaces it
    person_looks_late: bool = True  # who says "not done" has looked when nothing could land
    decision_names_attempts: bool = True  # what was sent after the look is not decided by it
    unwanted_is_settled: bool = True  # nobody waits for it, and yet it is followed


class Scenario(NamedTuple):
    """How the other side can be asked, and how many faults of each kind may happen."""

    keyed: bool = False  # it dedupes by our key
    probed: bool = False  # it can be asked
    repeatable: bool = False  # the author said `at_least_once`
    intents: int = 2  # attempts, before people are asked
    thread: bool = False  # a `def` body: it goes on after its timeout, and its answer comes late
    late_counts: bool = True  # a choice: is that answer recorded?
    unbounded: bool = False  # a client without a timeout: it may land at any time
    skew: int = 0  # by how much worker 1 reads the clock ahead of worker 0
    crash: int = 0  # the owner dies
    expiry: int = 0  # the owner is declared dead while it is only paused
    silence: int = 0  # the sender gets no answer in time
    refusal: int = 0  # the other side says no, and does not remember that under the key
    error: int = 0  # a probe fails, for good
    unwanted: int = 0  # no fault: the run fails, or is cancelled
    again: int = 0  # no fault: a person has it asked again


class Attempt(NamedTuple):
    """An intent, and what the world makes of it."""

    by: int  # whose clock stamped it
    age: int = 0  # since its intent
    step: str = "held"  # by its sender; calling; late: its thread goes on; gone
    heard: bool = True  # its sender may still record something
    left: int = 0  # ticks in which it can land
    flight: str = ""  # flying, landed, refused, lost
    outcome: str = ""  # what is recorded: unknown, not done, refused


class Probe(NamedTuple):
    """A question to the other side."""

    late: bool  # when it was asked, nothing could land any more: so its asker reads the clock
    answer: str = ""


class Look(NamedTuple):
    """What a person has seen."""

    attempts: int
    late: bool
    found: bool


class State(NamedTuple):
    """Everything."""

    state: str  # of the run: running, attention, ended
    owner: int
    owned: int  # ticks since it has the run
    wanted: bool
    attempts: tuple[Attempt, ...]
    probe: Probe | None
    look: Look | None
    forgiven: int  # attempts that a person has settled
    result: str  # done, refused, dropped
    objects: int
    key_age: int | None  # ticks since the other side first saw the key
    faults: tuple[int, ...]


_BUDGETS = Scenario._fields[Scenario._fields.index("crash") :]


class Effect:
    """Everything that may happen next in a state."""

    def __init__(self, scenario: Scenario, rules: Rules = Rules()) -> None:
        self.scenario = scenario
        self.rules = rules
        # Greater ages are all the same.
        self._oldest = (LIFETIME if scenario.keyed else LANDED_AFTER) + 2 * CLOCKS + 1

    def start(self) -> State:
        """A worker has claimed the run."""
        budget = tuple(getattr(self.scenario, name) for name in _BUDGETS)
        return State("running", 0, 0, True, (), None, None, 0, "", 0, None, budget)

    def goal(self, s: State) -> bool:
        """An outcome is recorded, or people have been asked."""
        return s.state != "running"

    def moves(self, s: State) -> Iterator[Move]:
        """All of them. Raises `Violation` when one breaks a promise."""
        for label, after, fault in self._moves(s):
            yield label, self._forget(after), fault

    def _forget(self, s: State) -> State:
        """Drop what nothing depends on any more, so that fewer states differ."""
        waits = s.attempts and not s.attempts[-1].heard and not s.attempts[-1].outcome
        return s._replace(
            attempts=tuple(self._essence(a, first=not i) for i, a in enumerate(s.attempts)),
            owned=s.owned if waits else 0,
            key_age=s.key_age if self.scenario.keyed else None,
        )

    def _essence(self, a: Attempt, *, first: bool) -> Attempt:
        if a.step == "calling" and not a.heard and (a.flight != "flying" or a.left <= LANDS):
            a = a._replace(step="gone")
        if a.flight not in {"", "flying"} and a.step == "gone":
            a = a._replace(left=0, flight="", heard=a.heard or bool(a.outcome))
        timeless = a.outcome == "not done" and a.flight != "flying" and a.step != "held"
        if timeless and not (first and self.scenario.keyed):
            a = a._replace(age=0, by=0)
        return a

    def _moves(self, s: State) -> Iterator[Move]:
        under_way = any(a.flight == "flying" or a.step == "held" for a in s.attempts)
        if s.state != "ended" or under_way:
            yield from self._tick(s)
        for i, attempt in enumerate(s.attempts):
            yield from self._sender(s, i, attempt)
            if attempt.flight == "flying":
                yield from self._provider(s, i, attempt)
        if s.state == "running":
            yield from self._owner(s)
            yield from self._faults(s)
        yield from self._person(s)

    # Time and the other side ----------------------------------------------------------------------------------------

    def _tick(self, s: State) -> Iterator[Move]:
        bounded = not self.scenario.unbounded
        if bounded and any(a.flight == "flying" and not a.left for a in s.attempts):
            return  # it lands now, or never
        older = tuple(
            a._replace(age=min(a.age + 1, self._oldest), left=max(a.left - 1, 0))
            for a in s.attempts
        )
        key_age = None if s.key_age is None else min(s.key_age + 1, LIFETIME)
        after = s._replace(attempts=older, key_age=key_age, owned=min(s.owned + 1, GONE_AFTER + 1))
        yield "time passes", after, False

    def _provider(self, s: State, i: int, a: Attempt) -> Iterator[Move]:
        known = self.scenario.keyed and s.key_age is not None and s.key_age < LIFETIME
        if not (a.heard and a.step == "calling"):
            yield f"call {i + 1} never arrives", self._put(s, i, flight="lost"), False
        elif self._left(s, "silence"):
            yield (
                f"call {i + 1} never arrives",
                self._put(_spend(s, "silence"), i, flight="lost"),
                True,
            )
        if self._left(s, "refusal") and not known:
            yield (
                f"call {i + 1} is refused",
                self._put(_spend(s, "refusal"), i, flight="refused"),
                False,
            )
        after = self._put(s, i, flight="landed")
        if not known:
            if s.objects and not self.scenario.repeatable:
                raise Violation("happened twice")
            if s.result in {"refused", "dropped"}:
                raise Violation("happened after it was called not done")
            after = after._replace(objects=s.objects + 1, key_age=0)
        yield f"call {i + 1} lands", after, False

    # Its sender: effects.py, _send ----------------------------------------------------------------------------------

    def _sender(self, s: State, i: int, a: Attempt) -> Iterator[Move]:
        n = i + 1
        if a.step == "held":
            if a.age <= SENT or not self.rules.send_by_checked:
                self._allowed(s, i)
                after = self._put(s, i, step="calling", flight="flying", left=TIMEOUT + LANDS)
                yield f"call {n} is sent", after, False
            if a.age >= SENT:
                yield (
                    f"call {n} is withdrawn",
                    self._put(s, i, step="gone", outcome="not done"),
                    False,
                )
        elif not a.heard or a.step == "gone":
            return
        elif a.step == "calling":
            if a.flight != "flying":
                yield f"call {n} is answered: {a.flight}", self._answered(s, i, a.flight), False
            if self._left(s, "silence"):
                step = "late" if self.scenario.thread else "gone"
                after = self._put(_spend(s, "silence"), i, step=step, outcome="unknown")
                yield f"call {n} is not answered in time", after, True
        elif a.flight != "flying":
            after = self._put(s, i, step="gone", heard=False)
            if self.scenario.late_counts:
                after = self._late(after, i, a)
            yield f"call {n} is answered late: {a.flight}", after, False

    def _allowed(self, s: State, i: int) -> None:
        """No two processes may be performing it, each believing that the run is its own."""
        for j, a in enumerate(s.attempts):
            if j != i and a.step == "calling" and a.flight == "flying" and a.left > LANDS:
                raise Violation("sent twice with authority")

    def _answered(self, s: State, i: int, flight: str) -> State:
        outcome = {"landed": "", "refused": "refused", "lost": "unknown"}[flight]
        s = self._put(s, i, step="gone", outcome=outcome)
        if flight == "landed":
            return self._end(s, "done")
        if flight == "refused" and not self.rules.refusal_is_its_own:
            return self._end(s, "refused")
        return s

    def _late(self, s: State, i: int, a: Attempt) -> State:
        """Evidence: a late success is the effect's; a late refusal is this attempt's."""
        if s.result and self.rules.result_is_final:
            return s
        if a.flight == "landed":
            return self._end(s, "done")
        if a.flight == "refused":
            if not self.rules.late_is_its_own or s.result:
                return self._end(s, "refused")
            return self._put(s, i, outcome="refused")
        return s

    # The run's owner: rules.py, next_move ---------------------------------------------------------------------------

    def _owner(self, s: State) -> Iterator[Move]:
        last = s.attempts[-1] if s.attempts else None
        if s.probe is not None:
            yield from self._read(s, s.probe)
        elif last is None:
            yield from (
                self._send(s) if s.wanted else [("it is dropped", self._end(s, "dropped"), False)]
            )
        elif last.outcome:
            yield from self._decide(s, last)
        elif not last.heard and (s.owned > GONE_AFTER or not self.rules.successor_waits):
            outcome = "unknown" if self.rules.takeover_is_unknown else "not done"
            after = self._put(s, len(s.attempts) - 1, outcome=outcome)
            yield f"attempt {len(s.attempts)} was lost: {outcome}", after, False
        elif not s.wanted and not self.rules.unwanted_is_settled:
            yield "it is dropped", self._end(s, "dropped"), False

    def _decide(self, s: State, last: Attempt) -> Iterator[Move]:
        refused = last.outcome == "refused"
        unsure = [a for a in s.attempts if a.outcome == "unknown"]
        if self.scenario.keyed and refused:
            # Had it landed before, its key would have been recognised: who came so late was told the truth.
            unsure = [
                a for a in unsure if self._seen(s, a) - self._seen(s, last) <= self._landed_after
            ]
        left = len(s.attempts) < self.scenario.intents + s.forgiven
        if not unsure:
            if refused:
                yield "it is refused", self._end(s, "refused"), False
            elif not s.wanted:
                yield "it is dropped", self._end(s, "dropped"), False
            elif left:
                yield from self._send(s)
            else:
                yield "attempts are used up", self._attention(s, happened=False), False
            return
        may_repeat = self.scenario.keyed and left and self._key_lives(s)
        if self.scenario.probed and (refused or not s.wanted or not may_repeat):
            yield "a probe begins", s._replace(probe=Probe(self._over(s))), False
        elif may_repeat:
            # A refusal would say no more than the one before: wait until it says it of all.
            if not refused or self._over(s):
                yield from self._send(s)
        elif self.scenario.repeatable and s.wanted and left and not refused:
            yield from self._send(s)
        else:
            yield "it is in doubt", self._attention(s, happened=None), False

    @property
    def _landed_after(self) -> int:
        """The age of an intent, as another process reads it, after which nothing of it can land."""
        landing = LANDS if self.rules.missing_counts_landing else 0
        return GONE_AFTER + landing + (CLOCKS if self.rules.missing_allows_for_clocks else 0)

    def _over(self, s: State) -> bool:
        """Nothing that may have happened can land any more."""
        unknown = [a for a in s.attempts if a.outcome == "unknown"]
        return all(self._seen(s, a) > self._landed_after for a in unknown)

    def _key_lives(self, s: State) -> bool:
        """Will the key still be recognised when what is sent now lands? It may have been seen first at the first intent."""
        if not self.rules.lifetime_checked:
            return True
        arrives = LANDED_AFTER if self.rules.lifetime_counts_landing else GONE_AFTER
        return self._seen(s, s.attempts[0]) + arrives + CLOCKS < LIFETIME

    def _send(self, s: State) -> Iterator[Move]:
        attempts = (*s.attempts, Attempt(s.owner))
        yield f"attempt {len(attempts)} is intended", s._replace(attempts=attempts), False

    def _read(self, s: State, probe: Probe) -> Iterator[Move]:
        if not probe.answer:
            answer = "found" if s.objects else "missing"
            yield f"it answers: {answer}", s._replace(probe=probe._replace(answer=answer)), False
            if self._left(s, "error"):
                after = self._attention(_spend(s, "error"), happened=None)
                yield "probes fail: it is in doubt", after, True
        elif probe.answer == "found":
            yield "the probe found it", self._end(s, "done"), False
        else:
            late = probe.late if self.rules.missing_counts_from_begin else self._over(s)
            counts = late or not self.rules.missing_waits
            after = s._replace(probe=None)
            if counts:
                after = after._replace(attempts=_settled(s.attempts))
            yield f"the probe did not find it{'' if counts else ', yet'}", after, False

    def _seen(self, s: State, a: Attempt) -> int:
        """The age of an intent for the owner, by the clock as both read it."""
        return max(0, a.age + (s.owner - a.by) * self.scenario.skew)

    # How it ends ----------------------------------------------------------------------------------------------------

    def _end(self, s: State, result: str) -> State:
        if (result == "done") != bool(s.objects):
            raise Violation(f"recorded as {result}, with {s.objects} there")
        return s._replace(state="ended", result=result, probe=None, look=None)

    def _attention(self, s: State, *, happened: bool | None) -> State:
        """The run is released: what its threads find is not heard any more."""
        if happened is False and s.objects:
            raise Violation("called not done, and is there")
        attempts = tuple(a._replace(heard=False) for a in s.attempts)
        return s._replace(
            state="attention" if happened is None else "exhausted", attempts=attempts, probe=None
        )

    # People ---------------------------------------------------------------------------------------------------------

    def _person(self, s: State) -> Iterator[Move]:
        if s.state == "attention" and s.look is None:
            look = Look(len(s.attempts), self._over(s), bool(s.objects))
            yield "a person looks", s._replace(look=look), False
        if s.state == "attention" and self._left(s, "again"):
            yield "a person has it asked again", self._resumed(_spend(s, "again")), False
        if s.look is None or s.state in {"ended", "exhausted"}:
            return
        fits = s.state == "attention" and s.look.attempts == len(s.attempts)
        if s.look.found:
            if fits:
                yield "a person says: done", self._end(s, "done"), False
        elif not s.look.late and self.rules.person_looks_late:
            yield "a person has looked too early", s._replace(look=None), False
        elif fits or not self.rules.decision_names_attempts:
            after = s._replace(attempts=_settled(s.attempts), forgiven=len(s.attempts), look=None)
            yield "a person says: not done", self._resumed(after), False
        else:
            yield "a person's decision is out of date", s._replace(look=None), False

    def _resumed(self, s: State) -> State:
        return s if s.state == "running" else s._replace(state="running", owned=0)

    # What may go wrong ----------------------------------------------------------------------------------------------

    def _faults(self, s: State) -> Iterator[Move]:
        other = 1 - s.owner
        lost = s._replace(owner=other, owned=0, probe=None)
        if self._left(s, "crash"):
            dead = tuple(a._replace(heard=False, step="gone") for a in s.attempts)
            yield (
                f"{s.owner} dies, {other} goes on",
                _spend(lost, "crash")._replace(attempts=dead),
                True,
            )
        if self._left(s, "expiry"):
            deaf = tuple(a._replace(heard=False) for a in s.attempts)
            after = _spend(lost, "expiry")._replace(attempts=deaf)
            yield f"{s.owner} is declared dead, {other} goes on", after, True
        if self._left(s, "unwanted") and s.wanted:
            yield "nobody wants it any more", _spend(s, "unwanted")._replace(wanted=False), False

    def _left(self, s: State, fault: str) -> int:
        return s.faults[_BUDGETS.index(fault)]

    def _put(self, s: State, i: int, **changes: Any) -> State:
        a = s.attempts[i]
        if "outcome" in changes and not a.heard and a.step == "held":
            del changes["outcome"]  # what nobody may record
        return s._replace(attempts=(*s.attempts[:i], a._replace(**changes), *s.attempts[i + 1 :]))


def _spend(s: State, fault: str) -> State:
    i = _BUDGETS.index(fault)
    return s._replace(faults=(*s.faults[:i], s.faults[i] - 1, *s.faults[i + 1 :]))


def _settled(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """What was unknown did not happen."""
    return tuple(a._replace(outcome="not done") if a.outcome == "unknown" else a for a in attempts)
