"""Undo, as a finite model: two effects in parallel beside a step that may fail, and a person who may cancel.

    await asyncio.gather(a(), b(), check())

The journal is abstracted to what `protocol` shows of it: what the run's owner records is durable at once, what anybody
else records is refused; so a crash between two moves is a crash at a commit. Time is abstracted to what it is waited
for: that a lost sender does not send any more, and that nothing can land any more; `effects` counts it.

A run that fails or is cancelled settles first: whatever was sent gets an outcome. Then it records "settled", with the
cause, and from there on does nothing but undo what is confirmed, in reverse order of completion; then it ends. With
`scoped` the effects stand in a scope of their own, whose failure undoes them, and the run goes on. With `pivot` nothing
is undone once b is done; a cancel that is heard before is held until b has an outcome, and then it counts or is too late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model.search import Violation

EFFECTS = ("a", "b")
CALLS = (*EFFECTS, "undo a", "undo b")

Move = tuple[str, "State", bool]


@dataclass(frozen=True)
class Rules:
    """The decisions of undoing."""

    settles_first: bool = True  # no undo before everything sent has an outcome,
    attempt_is_not_effect: bool = True  # one that was not sent says nothing of one before it
    settles_every_attempt: bool = True  # also an attempt before the one that was answered,
    told_is_followed: bool = True  # also what the workflow was told to be unknown;
    nothing_new_begins: bool = True  # and what is provably not done is not sent any more
    settled_is_recorded: bool = True  # a replay does not decide anew whether to undo
    reversed: bool = True
    undone_once: bool = True  # an undo is one call, whoever asks for it: a scope, the run, a replay
    undo_is_an_effect: bool = True  # what is unknown of it is found out; it is not just sent again
    undo_must_succeed: bool = True  # a refused undo is no end
    completion_hears_cancel: bool = True
    late_cancel_undoes: bool = True  # also a cancel that is found by the flush that ends the run
    cancel_is_recorded: bool = True  # in the commit that takes the message away
    undo_is_deaf: bool = True  # a cancel neither ends the undo
    undo_goes_on: bool = True  # nor begins it again
    first_cause_counts: bool = True  # nor changes what the run is said to have ended for
    pivot_stops_undo: bool = (
        True  # past the point of no return nothing is undone, not even what came later
    )
    pivot_holds_cancel: bool = True  # on the way there its outcome decides whether a cancel counts


class Scenario(NamedTuple):
    """How the other sides can be asked, and how many faults of each kind may happen."""

    effects: str = "probed"  # keyed, probed, once (cannot be asked), repeatable (`at_least_once`)
    undos: str = "probed"
    scoped: bool = False  # the effects are in a scope
    told: bool = False  # b gives its outcome as a value, also an unknown one
    pivot: bool = False  # b is the point of no return
    crash: int = 0  # the owner dies
    expiry: int = 0  # the owner is declared dead while it is only paused
    silence: int = 0  # the sender gets no answer in time; it may land later
    refusal: int = 0  # the other side says no
    failure: int = 0  # the step fails
    deploy: int = 0  # a process dies, and its successor's code bears the step's failure
    cancel: int = 0  # no fault: a person may ask the run to stop
    resume: int = 0  # no fault: a person may have a refused undo tried again


class Call(NamedTuple):
    """An effect or an undo: its record, and what the world makes of it."""

    state: str = ""  # what is recorded: intended, unknown, told (to be so), not done, refused, done
    flight: str = ""  # of its last attempt: held, flying, landed, refused, lost
    older: int = 0  # attempts before it that may still land
    heard: bool = False  # its sender may still record something
    unsure: bool = False  # it may have happened, for all that is recorded
    landed: bool = False

    @property
    def over(self) -> bool:
        """Nothing of it can land any more."""
        return not self.older and self.flight not in {"held", "flying"}


class State(NamedTuple):
    """Everything."""

    state: str  # of the run: running, attention, succeeded, failed, cancelled
    order: tuple[str, ...]  # what is recorded, in the order in which a replay is told
    calls: tuple[Call, ...]
    there: tuple[bool, ...]  # at the other side
    mail: bool  # a cancel, not yet heard
    told: str  # what the owner has been told, and the journal has not
    asked: bool  # a cancel was accepted before it was too late
    bears: bool  # code that bears the failure
    faults: tuple[int, ...]


_BUDGETS = Scenario._fields[Scenario._fields.index("crash") :]


class Undo:
    """Everything that may happen next in a state."""

    def __init__(self, scenario: Scenario, rules: Rules = Rules()) -> None:
        self.scenario = scenario
        self.rules = rules

    def start(self) -> State:
        """A worker has claimed the run."""
        budget = tuple(getattr(self.scenario, name) for name in _BUDGETS)
        nothing = (Call(),) * len(CALLS)
        return State("running", (), nothing, (False, False), False, "", False, False, budget)

    def goal(self, s: State) -> bool:
        """The run has ended, or people have been asked."""
        return s.state != "running"

    def moves(self, s: State) -> Iterator[Move]:
        """All of them. Raises `Violation` when one breaks a promise."""
        for name in CALLS:
            yield from self._world(s, name, _call(s, name))
            yield from self._sender(s, name, _call(s, name))
        if s.state == "running":
            yield from self._owner(s)
            yield from self._faults(s)
        if s.state == "attention":
            yield from self._person(s)
        if self._left(s, "cancel") and s.state in {"running", "attention"} and not s.mail:
            undone = any(entry.startswith("settled ") for entry in s.order)
            asked = s.asked or not (undone or self.scenario.pivot)
            after = _spend(s, "cancel")._replace(mail=True, asked=asked, state="running")
            yield "a cancel is left", after, False

    # The other sides, and those who call them -------------------------------------------------------------------------

    def _world(self, s: State, name: str, c: Call) -> Iterator[Move]:
        if c.flight == "held":
            yield from self._held(s, name, c)
        if c.flight == "flying":
            yield f"{name} lands", self._land(_put(s, name, flight="landed"), name), False
            if self._left(s, "refusal") and not c.landed and not c.older:
                yield f"{name} is refused", _put(_spend(s, "refusal"), name, flight="refused"), True
            if not c.heard or c.state != "intended":
                yield f"{name} never arrives", _put(s, name, flight="lost"), False
        if c.older:
            fewer = _put(s, name, older=c.older - 1)
            yield f"an older {name} lands", self._land(fewer, name), False
            yield f"an older {name} never arrives", fewer, False

    def _held(self, s: State, name: str, c: Call) -> Iterator[Move]:
        self._allowed(s, name)
        yield f"{name} is sent", _put(s, name, flight="flying"), False
        if not c.heard:
            yield f"{name} is withdrawn", _put(s, name, flight="lost"), False
        elif self._unwanted(s, name):
            known = not c.unsure or not self.rules.attempt_is_not_effect
            state = "not done" if known else "unknown"
            yield f"{name} is withdrawn", _put(s, name, flight="lost", state=state), False

    def _sender(self, s: State, name: str, c: Call) -> Iterator[Move]:
        if not c.heard or c.state != "intended" or c.flight == "held":
            return
        if c.flight != "flying":
            outcome = "done" if c.flight == "landed" else "refused"
            yield f"{name} is answered: {c.flight}", self._record(s, name, outcome), False
        if self._left(s, "silence"):
            after = _put(_spend(s, "silence"), name, state="unknown", unsure=True)
            yield f"{name} is not answered in time", after, True

    def _allowed(self, s: State, name: str) -> None:
        """The promises of undo, at the moment in which one is sent."""
        if name in EFFECTS:
            return
        if self.scenario.pivot and _call(s, "b").landed:
            raise Violation("undone past the point of no return")
        target = name.removeprefix("undo ")
        c = _call(s, target)
        if not c.over and not (c.landed and self.scenario.effects == "keyed"):
            raise Violation("undone while it may still land")
        done = [e for e in s.order if e in EFFECTS]
        if any(_there(s, later) for later in done[done.index(target) + 1 :]):
            raise Violation("undone out of order")

    def _land(self, s: State, name: str) -> State:
        target = name.removeprefix("undo ")
        c = _call(s, name)
        kind = self.scenario.effects if name in EFFECTS else self.scenario.undos
        if c.landed and kind == "keyed":
            return s
        if c.landed and kind != "repeatable":
            raise Violation(f"{'happened' if name in EFFECTS else 'undone'} twice")
        if name in EFFECTS and (
            s.state in {"failed", "cancelled"} or _call(s, f"undo {name}").state
        ):
            raise Violation("landed after its undo")
        there = tuple(
            name in EFFECTS if e == target else was for e, was in zip(EFFECTS, s.there, strict=True)
        )
        return _put(s, name, landed=True)._replace(there=there)

    def _record(self, s: State, name: str, state: str) -> State:
        order = (*s.order, name) if state == "done" else s.order
        if state == "refused" and name in EFFECTS:
            order = (*s.order, f"no {name}")
        return _put(s, name, state=state, unsure=False)._replace(order=order)

    # The run's owner ------------------------------------------------------------------------------------------------

    def _cause(self, s: State) -> str:
        """Why the run cannot succeed: what a replay of the journal finds."""
        for entry in s.order:
            if entry.startswith("settled "):
                return entry.removeprefix("settled ")
            if entry == "cancel" and not self._is_held(s) and not self._too_late(s):
                return "cancelled"
            borne = self.scenario.scoped or (entry == "no check" and s.bears)
            if entry.startswith("no ") and not borne:
                return "failed"
        return s.told

    def _too_late(self, s: State) -> bool:
        return self._past_pivot(s) and self.rules.pivot_holds_cancel

    def _is_held(self, s: State) -> bool:
        """Has a cancel been heard that counts only if b is not done?"""
        if not (self.scenario.pivot and self.rules.pivot_holds_cancel and "cancel" in s.order):
            return False
        return not {"b", "no b", "no check"} & set(s.order)

    def _scope_failed(self, s: State) -> bool:
        return self.scenario.scoped and any(e.startswith("no ") for e in s.order)

    def _unwanted(self, s: State, name: str) -> bool:
        if name == "b" and self._is_held(s):
            return True
        return name in EFFECTS and (self._cause(s) != "" or self._scope_failed(s))

    def _owner(self, s: State) -> Iterator[Move]:
        if s.mail:
            yield self._hear(s)
        for name in CALLS:
            yield from self._follow(s, name, _call(s, name))
        if self._unwanted(s, EFFECTS[0]):
            yield from self._undo(s, self._cause(s))
            return
        for name in EFFECTS:
            if _call(s, name).state not in {"", "not done"}:
                continue
            if self._unwanted(s, name):
                yield f"{name} is given up", self._record(s, name, "refused"), False
            else:
                yield self._intend(s, name)
        if not {"check", "no check"} & set(s.order):
            yield "the step is done", s._replace(order=(*s.order, "check")), False
            if self._left(s, "failure"):
                after = _spend(s, "failure")._replace(order=(*s.order, "no check"))
                yield "the step fails", after, False
        elif all(_call(s, name).state in {"done", "told"} for name in EFFECTS):
            yield self._succeed(s)

    def _follow(self, s: State, name: str, c: Call) -> Iterator[Move]:
        """What was sent has no outcome, and nobody is about to record one."""
        if c.state == "intended" and not c.heard and c.flight != "held":
            yield f"{name} was lost", _put(s, name, state="unknown", unsure=True), False
        elif c.state == "unknown":
            yield from self._find_out(s, name, c)
        elif c.state == "told" and self._unwanted(s, name) and self.rules.told_is_followed:
            yield f"{name} is asked about again", _put(s, name, state="unknown"), False

    def _intend(self, s: State, name: str) -> Move:
        c = _call(s, name)
        older = c.older + (c.flight == "flying")
        after = _put(s, name, state="intended", flight="held", older=older, heard=True)
        return f"{name} is intended", after, False

    def _find_out(self, s: State, name: str, c: Call) -> Iterator[Move]:
        kind = self.scenario.effects if name in EFFECTS else self.scenario.undos
        if name not in EFFECTS and not self.rules.undo_is_an_effect:
            yield self._intend(s, name)
        elif self.scenario.told and name == "b" and kind == "once" and not self._unwanted(s, name):
            told = _put(s, name, state="told")._replace(order=(*s.order, "b?"))
            yield f"the workflow is told that {name} is unknown", told, False
        elif kind == "keyed" or (kind == "repeatable" and not self._unwanted(s, name)):
            yield self._intend(s, name)
        elif kind == "probed":
            if c.landed:
                yield f"{name} is found", self._record(s, name, "done"), False
            elif c.over:
                yield f"{name} is missing", self._record(s, name, "not done"), False
        elif self._quiet(s):
            yield f"{name} is in doubt", s._replace(state="attention"), False

    def _hear(self, s: State) -> Move:
        s = s._replace(mail=False)
        if any(e.startswith("settled") for e in s.order):
            if not self.rules.undo_is_deaf:
                return "a cancel ends the undo", self._end(s, "cancelled"), False
            if not self.rules.undo_goes_on:
                return "a cancel begins the undo again", self._anew(s), False
            if not self.rules.first_cause_counts:
                return "a cancel is heard during the undo", s._replace(told="cancelled"), False
        if any(e.startswith("settled ") for e in s.order) or self._past_pivot(s):
            return "a cancel changes nothing", s, False
        return "a cancel is heard", self._cancelled(s), False

    def _cancelled(self, s: State) -> State:
        if not self.rules.cancel_is_recorded:
            return s._replace(told="cancelled")
        return s._replace(order=(*s.order, "cancel"))

    def _succeed(self, s: State) -> Move:
        if s.mail and self.rules.completion_hears_cancel:
            s = s._replace(mail=False)
            if not self.rules.late_cancel_undoes:
                return "a cancel is found at the end", self._end(s, "cancelled"), False
            return "a cancel is found at the end", self._cancelled(s), False
        return "the run succeeds", self._end(s, "succeeded"), False

    # Undoing --------------------------------------------------------------------------------------------------------

    def _past_pivot(self, s: State) -> bool:
        return self.scenario.pivot and "b" in s.order

    def _settled(self, s: State) -> bool:
        """Has everything that was sent an outcome, which nothing can change any more?"""
        for name in EFFECTS:
            c = _call(s, name)
            if c.state in {"intended", "unknown"}:
                return False
            if c.state == "told" and self.rules.told_is_followed:
                return False
            harmless = c.landed and self.scenario.effects == "keyed"
            if not c.over and not harmless and self.rules.settles_every_attempt:
                return False
        return True

    def _undo(self, s: State, cause: str) -> Iterator[Move]:
        marker = f"settled {cause}" if cause else "settled"
        if not self.rules.nothing_new_begins:
            for name in EFFECTS:
                if _call(s, name).state in {"", "not done"}:
                    yield self._intend(s, name)
        if marker not in s.order:
            if self._settled(s) or not self.rules.settles_first:
                if self._past_pivot(s) and self.rules.pivot_stops_undo:
                    if cause == "cancelled" and not any(e.startswith("no ") for e in s.order):
                        raise Violation("a person is asked, and nothing failed")
                    yield "it can only go forward", s._replace(state="attention"), False
                    return
                if not self.rules.settled_is_recorded:
                    yield from self._step_back(s, cause)
                    return
                after = s._replace(order=(*s.order, marker))
                if not self.rules.undone_once:
                    after = self._anew(after)
                yield f"it is {marker}", after, False
        else:
            yield from self._step_back(s, cause)

    def _step_back(self, s: State, cause: str) -> Iterator[Move]:
        done = [e for e in s.order if e in EFFECTS]
        if self.rules.reversed:
            done.reverse()
        over = {"done"} if self.rules.undo_must_succeed else {"done", "refused"}
        target = next((e for e in done if _call(s, f"undo {e}").state not in over), None)
        if target is not None:
            c = _call(s, f"undo {target}")
            if c.state in {"", "not done"}:
                yield self._intend(s, f"undo {target}")
            elif c.state == "refused" and self._quiet(s):
                yield f"{target} cannot be undone", s._replace(state="attention"), False
        elif cause == "":
            yield self._succeed(s)
        elif not self.rules.first_cause_counts and (s.told or cause) != cause:
            raise Violation(f"called {s.told}, and had {cause}")
        else:
            yield f"the run ends, {cause}", self._end(s, cause), False

    @staticmethod
    def _quiet(s: State) -> bool:
        """Nobody is about to be answered: only then is a run parked."""
        return not any(c.heard and c.state == "intended" for c in s.calls)

    def _anew(self, s: State) -> State:
        calls = tuple(
            c if i < len(EFFECTS) else Call(landed=c.landed, older=c.older + (c.flight == "flying"))
            for i, c in enumerate(s.calls)
        )
        return s._replace(calls=calls)

    def _end(self, s: State, state: str) -> State:
        undone = state != "succeeded" or self._scope_failed(s)
        told = [_call(s, name).state == "told" for name in EFFECTS]
        if any(s.there) if undone else not all(map(max, s.there, told)):
            raise Violation(f"{state}, and half of it stands")
        if state == "succeeded" and s.asked:
            raise Violation("accepted cancel ignored")
        return s._replace(state=state)

    # People, and what may go wrong ----------------------------------------------------------------------------------

    def _person(self, s: State) -> Iterator[Move]:
        for name in CALLS:
            c = _call(s, name)
            if c.state == "unknown" and c.over:
                said = "done" if c.landed else "not done"
                after = self._record(s, name, said)._replace(state="running")
                yield f"a person says of {name}: {said}", after, False
            if c.state == "refused" and name not in EFFECTS and self._left(s, "resume"):
                after = _put(_spend(s, "resume"), name, state="not done")._replace(state="running")
                yield f"a person resumes {name}", after, False

    def _faults(self, s: State) -> Iterator[Move]:
        deaf = s._replace(calls=tuple(c._replace(heard=False) for c in s.calls), told="")
        dead = deaf._replace(
            calls=tuple(c._replace(flight="lost") if c.flight == "held" else c for c in deaf.calls)
        )
        if self._left(s, "crash"):
            yield "the owner dies, another goes on", _spend(dead, "crash"), True
        if self._left(s, "expiry"):
            yield "the owner is declared dead, another goes on", _spend(deaf, "expiry"), True
        if self._left(s, "deploy"):
            yield "new code goes on", _spend(dead, "deploy")._replace(bears=True), True

    def _left(self, s: State, fault: str) -> int:
        return s.faults[_BUDGETS.index(fault)]


def _call(s: State, name: str) -> Call:
    return s.calls[CALLS.index(name)]


def _there(s: State, effect: str) -> bool:
    return s.there[EFFECTS.index(effect)]


def _put(s: State, name: str, **changes: Any) -> State:
    i = CALLS.index(name)
    return s._replace(calls=(*s.calls[:i], s.calls[i]._replace(**changes), *s.calls[i + 1 :]))


def _spend(s: State, fault: str) -> State:
    i = _BUDGETS.index(fault)
    return s._replace(faults=(*s.faults[:i], s.faults[i] - 1, *s.faults[i + 1 :]))
