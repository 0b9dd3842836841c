"""The side of the processes: writer, engine, effects and steps. `protocol` has the other side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.model.parts import (
    AWAY,
    FAULTS,
    Flight,
    Memory,
    Move,
    Process,
    Rules,
    Scenario,
    State,
    attempts,
    claimable,
    fly,
    held,
    leave,
    mark_of,
    note,
    owner_of,
    put,
    remember,
    spend,
)
from tests.model.search import Violation


class Processes:
    """Workers and the client: what each does next, and what it makes of an answer."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.scenario = scenario
        self.rules = rules

    def _urgent(self, s: State) -> tuple[str, State] | None:
        """What a process does before it waits for anything: the next call of the workflow, then a flush."""
        for who, p in enumerate(s.processes):
            if p.alive and p.todo and not p.out and not p.open:
                return f"client asks: {p.todo[0]}", put(s, who, p._replace(open=((p.todo[0],),)))
            if p.alive and p.run and not p.run.call and not p.run.leaving:
                made = self._next(s, who, p, p.run)
                if made is not None:
                    return made
            if p.alive and p.open and not p.out and not (p.again and held(s, self.rules)):
                after = put(s, who, p._replace(out=p.open, open=(), again=False))
                return f"{who} flushes {p.n + 1}: {p.open}", fly(
                    after, Flight(p.id, p.n + 1, p.n + 1, p.open)
                )
        return None

    def _resend(self, s: State, who: int, p: Process) -> Move:
        n = p.n + 1
        if not self.rules.resent_under_its_number and mark_of(s.db, p.id, n) is None:
            n += 1  # "the database does not have it, so it did not happen": the same content anew
        return f"{who} sends flush {n} again", fly(s, Flight(p.id, n, p.n + 1, p.out)), False

    def _answer(self, s: State, f: Flight, reply: tuple[Any, ...]) -> State:  # noqa: C901, PLR0912  (one case per answer)
        """Node.flushed and Engine.flushed: the batch is durable, and this is what the database said."""
        if not f.heard:
            return s
        who, p = owner_of(s, f.id)
        p = p._replace(n=f.n, out=())
        sent, said = {op[0] for op in f.ops}, {item[0] for item in reply}
        p = p._replace(todo=tuple(x for x in p.todo if x not in sent))
        for item in reply:
            if item[0] == "claimed":
                p = p._replace(
                    run=Memory(item[1], s.db.journal, cancelled="cancel" in s.db.journal)
                )
        run = p.run
        if run is None:
            return put(s, who, p)
        if run.call == "intended" and any(
            op[0] == "entry" and op[1].startswith("intent") for op in f.ops
        ):
            run = run._replace(call="ready")
        for op in f.ops:
            if op[0] in {"end", "release"} and run is not None:
                if "busy" in said:
                    p = p._replace(open=(*p.open, op), again=True)
                elif "cancelled" in said:
                    run = run._replace(cancelled=True)
                    p = p._replace(open=(*p.open, ("end", "cancelled", True)))
                elif op[0] == "release" and "mail" in said:
                    run = run._replace(leaving=False)
                else:
                    run = None
        p = p._replace(run=run)
        for item in reply:
            if (
                item[0] == "mail"
                and run is not None
                and not (run.leaving and self.rules.leaving_run_is_deaf)
            ):
                for message in item[1:]:
                    p = self._hear(p, message)
        return put(s, who, p)

    def _hear(self, p: Process, message: str) -> Process:
        run = p.run
        assert run is not None
        if message == "cancel" and not run.cancelled:
            return p._replace(
                open=(*p.open, ("heard", "cancel"), ("entry", "cancel")),
                run=run._replace(cancelled=True, seen=run.seen | {"cancel"}),
            )
        if (
            message == "m"
            and "effect" in run.seen
            and not run.cancelled
            and "message" not in run.seen
        ):
            return p._replace(
                open=(*p.open, ("heard", "m"), ("entry", "message")),
                run=run._replace(seen=run.seen | {"message"}),
            )
        return p

    def _register(self, s: State, who: int, p: Process) -> State:
        """Begin anew: nothing in memory counts. The last flush is asked for by its mark; the client asks again."""
        if p.out and mark_of(s.db, p.id, p.n + 1) is not None:
            told = {op[0] for op in p.out}
            p = p._replace(todo=tuple(x for x in p.todo if x not in told))
        new = p.id + 3
        marks = frozenset(m for m in s.db.marks if m[0] != p.id or p.id in s.db.workers)
        db = s.db._replace(workers=s.db.workers | {new}, marks=marks | {(new, 0, ())})
        flights = frozenset(f._replace(heard=False) if f.id == p.id else f for f in s.flights)
        return put(
            s._replace(db=db, flights=flights), who, Process(new, todo=p.todo, stray=p.stray)
        )

    def _worker(self, s: State, who: int, p: Process) -> Iterator[Move]:
        pending = {op[0] for op in p.open + p.out}
        if p.run is None:
            if "claim" not in pending and claimable(s, s.db.run):
                yield f"{who} asks for runs", note(s, who, p, ("claim",)), False
        elif s.db.messages and not p.run.looked and "look" not in pending:
            looking = p._replace(run=p.run._replace(looked=True))
            yield f"{who} looks for messages", note(s, who, looking, ("look",)), False
        if p.stray:
            yield from self._finish_step(s, who, p._replace(stray=0), p.stray)
        if p.run is not None and not p.run.leaving:
            yield from self._advance(s, who, p, p.run)

    def _advance(self, s: State, who: int, p: Process, run: Memory) -> Iterator[Move]:
        match run.call:
            case "tx":
                yield from self._finish_step(s, who, p, run.claim)
            case "doubt":
                yield from self._settle(s, who, p, run)
            case "ready" | "checked" | "calling":
                yield from self._send(s, who, p, run)
            case "":
                yield from self._find_out(s, who, p, run)

    def _next(self, s: State, who: int, p: Process, run: Memory) -> tuple[str, State] | None:  # noqa: PLR0911  (one line per step)
        """Replay has come to its end: what the workflow does next, if it need not wait for anything."""
        attempt = attempts(run)
        again = self.scenario.provider == "keyed" or not self.rules.unknown_is_not_failed
        if run.parked:
            return f"{who} parks the run", leave(s, who, p, ("release", "attention"))
        if run.cancelled:
            return f"{who} ends the run, cancelled", leave(s, who, p, ("end", "cancelled", True))
        if "tx" not in run.seen:
            if p.open or p.out:
                return None
            return f"{who} runs the transaction", remember(s, who, p, call="tx")
        if "effect" in run.seen:
            if (
                not self.rules.release_looks_again
                and "message" not in run.seen
                and (not run.looked or p.out or p.open)
            ):
                # look first, and let go when nothing was there
                looking = note(s, who, p._replace(run=run._replace(looked=True)), ("look",))
                return None if run.looked else (f"{who} looks for messages", looking)
            op = ("end", "succeeded", False) if "message" in run.seen else ("release", "waiting")
            return f"{who} {op[0]}s the run", leave(s, who, p, op)
        if not attempt or (f"unknown{attempt}" in run.seen and again):
            return f"{who} intends the effect", self._intend(s, who, p, run, attempt + 1)
        if f"unknown{attempt}" in run.seen and self.scenario.provider == "once":
            return f"{who} is in doubt", remember(s, who, p, parked=True)
        return None

    def _find_out(self, s: State, who: int, p: Process, run: Memory) -> Iterator[Move]:
        """There is an intent and no outcome: what waiting and asking can tell."""
        attempt = attempts(run)
        if (
            run.call
            or "effect" in run.seen
            or self._next(s, who, p, run) is not None
            or "tx" not in run.seen
        ):
            return
        if f"unknown{attempt}" not in run.seen:
            # Its sender is lost. In the time that this waits, no call of it stays under way from our side.
            if not self.rules.successor_waits or not any(
                q.run and q.run.call in AWAY for q in s.processes
            ):
                after = self._record(s, who, p, run, f"unknown{attempt}")
                after = after._replace(expired=max(after.expired, attempt))
                yield f"{who} has waited: attempt {attempt} is unknown", after, False
        elif s.landed:
            yield f"{who} probes: found", self._record(s, who, p, run, "effect"), False
        elif not s.calls or not self.rules.missing_waits:
            yield f"{who} probes: missing", self._intend(s, who, p, run, attempt + 1), False

    def _intend(self, s: State, who: int, p: Process, run: Memory, attempt: int) -> State:
        return self._record(s, who, p, run, f"intent{attempt}", call="intended")

    def _record(
        self, s: State, who: int, p: Process, run: Memory, entry: str, call: str = ""
    ) -> State:
        run = run._replace(seen=run.seen | {entry}, call=call)
        return put(s, who, p._replace(open=(*p.open, ("entry", entry)), run=run))

    def _send(self, s: State, who: int, p: Process, run: Memory) -> Iterator[Move]:
        attempt = attempts(run)
        call = (attempt, p.id)
        if run.call == "ready":
            if attempt <= s.expired and self.rules.send_by_checked:
                yield f"{who} is past send_by", remember(s, who, p, call="deaf"), False
            else:
                yield f"{who} is within send_by", remember(s, who, p, call="checked"), False
        elif run.call == "checked":
            self._allowed(s, who, attempt)
            after = s._replace(calls=s.calls | {call})
            yield f"{who} sends call {attempt}", remember(after, who, p, call="calling"), False
        elif call not in s.calls:
            yield f"{who} is answered: done", self._record(s, who, p, run, "effect"), False
        if run.call == "calling" and s.faults[FAULTS.index("late")]:
            after = self._record(spend(s, "late"), who, p, run, f"unknown{attempt}")
            yield f"{who} is not answered in time", after, True

    def _allowed(self, s: State, who: int, attempt: int) -> None:
        """The promise of effects, at the moment in which one is sent."""
        if f"intent{attempt}" not in s.db.journal and s.lied_to is None:
            raise Violation("sent without an intent")
        if any(q.run and q.run.call == "calling" for i, q in enumerate(s.processes) if i != who):
            raise Violation("sent twice with authority")
        if self.scenario.provider != "keyed" and (s.landed or s.calls):
            raise Violation("unknown effect repeated")

    def _finish_step(self, s: State, who: int, p: Process, claim: int) -> Iterator[Move]:
        run = s.db.run
        owned = run.owner == p.id or not self.rules.step_fenced
        if owned and (
            run.claim == claim or not self.rules.claim_checked or not self.rules.step_fenced
        ):
            stray = p.run is None or p.run.call != "tx"
            flight = Flight(p.id, -claim, 0, (), held=True, heard=not stray)
            after = fly(put(s, who, p), flight)
            yield (
                f"{who} sends COMMIT of the step",
                after if stray else remember(after, who, p, call="commit"),
                False,
            )
        elif p.run is not None and p.run.claim == claim:
            yield f"the step of {who} is fenced", remember(s, who, p, call="deaf"), False

    def _lose_step(self, s: State, f: Flight) -> State:
        if not f.heard:
            return s
        who, p = owner_of(s, f.id)
        return remember(s, who, p, call="doubt")

    def _settle(self, s: State, who: int, p: Process, run: Memory) -> Iterator[Move]:
        """COMMIT got no answer. The transaction holds the run's row until it has ended."""
        if any(f.id == p.id and f.n < 0 for f in s.flights) and self.rules.step_commit_settled:
            return
        if s.db.run.owner != p.id or s.db.run.claim != run.claim:
            yield f"the step of {who} is fenced", remember(s, who, p, call="deaf"), False
        elif "tx" in s.db.journal:
            yield (
                f"{who} finds its step committed",
                remember(s, who, p, call="", seen=run.seen | {"tx"}),
                False,
            )
        else:
            yield f"{who} finds its step not committed", remember(s, who, p, call=""), False
