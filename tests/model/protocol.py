"""The journal protocol as a finite model, and a search through all of its histories.

What is modelled: two workers, a client, a person who may cancel, and one run of the workflow

    await transact()      # the user's rows and their entry in one commit
    await effect()        # a consequence outside the database
    await receive("m")    # the run is let go of, and claimed again when the message comes

The pieces are those of the implementation. A `Process` fills its open batch and has one flush under way; a `Flight` is
a call that the server has: it may be cut off from its caller and still be executed, at once, late or never. `Db` is
what is durable. Each function below names the piece of `journal`, `workflow` or `worker` that it stands for. Time is
not counted: a wait of *at least* so long is a condition on what can no longer be under way when it has passed.

`Rules` are the decisions of the protocol. Each is on; the tests switch them off one by one, and the search must find
what then goes wrong. A violation has a kind and a shortest trace. A state from which no continuation without further
faults brings the run to an end (or into attention) and the client to its answers is `stuck`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.model.parts import (
    CLIENT,
    ENDED,
    FAULTS,
    Db,
    Flight,
    Move,
    Process,
    Run,
    State,
    claimable,
    fly,
    held,
    initial,
    land,
    mark_of,
    owner_of,
    put,
    remember,
    spend,
    woken,
)
from tests.model.processes import Processes
from tests.model.search import Violation


class Protocol(Processes):
    """The database, and everything that may happen next in a state."""

    def moves(self, s: State) -> Iterator[Move]:
        """All of them, each with what follows at once. Raises `Violation` when one breaks a promise."""
        for label, after, fault in self._moves(s):
            more, last = self._at_once(after)
            yield "; ".join((label, *more)), last, fault

    def start(self) -> State:
        """Everybody has registered, and done what happens at once."""
        return self._at_once(initial(self.scenario))[1]

    def _at_once(self, s: State) -> tuple[list[str], State]:
        labels: list[str] = []
        while (urgent := self._urgent(s)) is not None:
            labels.append(urgent[0])
            s = urgent[1]
        return labels, s

    def _moves(self, s: State) -> Iterator[Move]:
        for who, p in enumerate(s.processes):
            if p.alive:
                if p.out and not any(f.id == p.id and f.n > 0 and f.heard for f in s.flights):
                    yield self._resend(s, who, p)
                yield from self._membership(s, who, p)
                if who != CLIENT:
                    yield from self._worker(s, who, p)
        for flight in s.flights:
            yield from self._step_commit(s, flight) if flight.n < 0 else self._flush(s, flight)
        for call in s.calls:
            yield f"call {call[0]} lands", self._land(s, call), False
            if not any(p.id == call[1] and p.run and p.run.call == "calling" for p in s.processes):
                yield (
                    f"call {call[0]} is lost on its way",
                    s._replace(calls=s.calls - {call}),
                    False,
                )
        yield from self._sender(s)
        yield from self._faults(s)

    def goal(self, s: State) -> bool:
        """Has everybody come to an end? A client that died asks for nothing."""
        client = s.processes[CLIENT]
        run = s.db.run.state
        noticed = s.lied_to is not None and s.lied_to not in {p.id for p in s.processes}
        if client.alive and not (noticed and s.lied_to == CLIENT):
            return not client.todo and (run in ENDED or run == "attention")
        unsaid = (
            run == "waiting" and not s.db.messages
        )  # by a client that died, or knows that its words were lost
        return run in ENDED or run in {"attention", "none"} or unsaid

    # The writer: writer.py, and flush() in the migrations ---------------------------------------------------------

    def _flush(self, s: State, f: Flight) -> Iterator[Move]:
        if f.held:
            yield from self._commit(s, f)
            return
        if not f.heard:
            yield f"flush {f.n} of {f.id} is never executed", land(s, f), False
        if self.rules.flush_fenced and f.id not in s.db.workers:
            yield f"flush {f.n} of {f.id} is fenced", land(s, f), False
            return
        stored = mark_of(s.db, f.id, f.n)
        if stored is not None:
            yield (
                f"flush {f.n} of {f.id} was executed before",
                self._answer(land(s, f), f, stored),
                False,
            )
            return
        if self.rules.marked and any(g.held and g[:2] == f[:2] for g in s.flights):
            return  # its mark is inserted and not committed: this one waits
        if self._history_lost(s.db, f):
            after = land(s, f)
            if f.heard:
                who, p = owner_of(s, f.id)
                after = self._register(after, who, p)
            yield (
                f"flush {f.n} of {f.id} finds that its predecessor is not in the database",
                after,
                False,
            )
        elif self.scenario.locks:
            yield (
                f"flush {f.n} of {f.id} passes its fence",
                fly(land(s, f), f._replace(held=True)),
                False,
            )
        else:
            yield from self._commit(s, f)

    def _history_lost(self, db: Db, f: Flight) -> bool:
        if not (
            self.rules.history_checked and self.rules.marked and self.rules.resent_under_its_number
        ):
            return False
        first = 1 if self.rules.first_mark_at_registration else 2
        return f.n >= first and mark_of(db, f.id, f.n - 1) is None

    def _commit(self, s: State, f: Flight) -> Iterator[Move]:
        if s.lied_to == f.id:
            raise Violation("history lost unnoticed")
        if (last := dict(s.db.applied).get(f.id, 0)) >= f.batch:
            raise Violation("flush applied twice")
        db, reply = self._apply(s, f)
        if self.rules.marked:
            old = frozenset(m for m in db.marks if m[0] == f.id and m[1] <= f.n - 2)
            db = db._replace(marks=(db.marks - old) | {(f.id, f.n, reply)})
        db = db._replace(applied=(db.applied - {(f.id, last)}) | {(f.id, f.batch)})
        after = land(s, f)._replace(db=db)
        if self.scenario.loss and f.heard:
            after = after._replace(before=(s.db, f.id))
        yield f"flush {f.n} of {f.id} commits: {reply}", self._answer(after, f, reply), False

    def _apply(self, s: State, f: Flight) -> tuple[Db, tuple[Any, ...]]:  # noqa: C901, PLR0912  (the order of flush())
        """The body of flush(), in its order: sends, starts, entries, heard, ends, releases, looks, claims."""
        db, run = s.db, s.db.run
        reply: list[Any] = []
        names = [op[0] for op in f.ops]
        locked = held(s, self.rules)
        if "send" in names and run.state not in ENDED:
            db = db._replace(messages=db.messages | {"m"}, posted=db.posted + 1)
            run = woken(run)
            if db.posted > 1:
                raise Violation("message applied twice")
        if "start" in names and run.state == "none":
            run = Run("ready", None, 0, True)
        for entry in (op[1] for op in f.ops if op[0] == "entry"):
            if entry in db.journal:
                raise Violation("entry written twice")
            db = db._replace(journal=db.journal | {entry})
        db = db._replace(messages=db.messages - {op[1] for op in f.ops if op[0] == "heard"})
        kept = "look" in names
        for op in f.ops:
            if op[0] == "end":
                if locked or run.owner != f.id:
                    reply.append(("busy",))
                elif self.rules.completion_hears_cancel and "cancel" in db.messages and not op[2]:
                    reply.append(("cancelled",))
                else:
                    if op[1] == "succeeded" and db.cancel_accepted:
                        raise Violation("accepted cancel ignored")
                    run = run._replace(state=op[1], owner=None)
                    db = db._replace(messages=frozenset())
            elif op[0] == "release":
                if locked or run.owner != f.id:
                    reply.append(("busy",))
                elif kept or (
                    op[1] == "waiting" and db.messages and self.rules.release_looks_again
                ):
                    kept = True
                else:
                    run = run._replace(state=op[1], owner=None, due=False)
        if kept:
            reply.append(("mail", *sorted(db.messages)))
        if "claim" in names and claimable(s, run):
            run = Run("running", f.id, run.claim + 1, False)
            reply.append(("claimed", run.claim))
        return db._replace(run=run), tuple(reply)

    # Membership: membership.py, supervisor.py, reaper.py ----------------------------------------------------------

    def _membership(self, s: State, who: int, p: Process) -> Iterator[Move]:
        if p.id not in s.db.workers:
            yield f"{who} learns that it was declared dead", self._register(s, who, p), False
        newest = max((m[1] for m in s.db.marks if m[0] == p.id), default=-1)
        if (
            self.rules.beat_checks_history
            and self.rules.marked
            and newest < p.n
            and p.id in s.db.workers
        ):
            yield (
                f"the heartbeat of {who} finds its last flush gone",
                self._register(s, who, p),
                False,
            )
        if who == CLIENT:
            return
        for peer in s.db.workers - {p.id}:
            _, q = owner_of(s, peer)
            silent = not q.alive or q.id != peer
            if silent or s.faults[FAULTS.index("expiry")]:
                after = s if silent else spend(s, "expiry")
                for taken in self._takeover(after, who, p, peer):
                    yield f"{who} takes over from {peer}", taken, not silent
        if p.taking is not None:
            after = put(self._release_gone(s, p.taking), who, p._replace(taking=None))
            yield f"{who} releases the runs of {p.taking}", after, False
        for peer in s.db.gone:
            yield f"{who} finishes the takeover of {peer}", self._release_gone(s, peer), False

    def _takeover(self, s: State, who: int, p: Process, peer: int) -> Iterator[State]:
        held = [f for f in s.flights if f.id == peer and f.n > 0 and f.held]
        snapshot = s.db.run
        if held and not self.rules.takeover_reads_later:
            for f in held:  # it waits for them, and then reads what was there when it began
                s = land(s, f)._replace(db=self._apply(s, f)[0])
        elif held and self.rules.takeover_waits:
            return  # the DELETE waits for the flush that holds the row; that will commit
        db = s.db._replace(workers=s.db.workers - {peer})
        if not self.rules.takeover_in_one_commit:
            yield put(s._replace(db=db), who, p._replace(taking=peer))
        elif not self.rules.takeover_reads_later and snapshot.owner != peer:
            yield s._replace(db=db)
        else:
            yield self._release_gone(s._replace(db=db._replace(gone=db.gone | {peer})), peer)

    def _release_gone(self, s: State, peer: int) -> State:
        """Hand over its runs. A step that is being committed holds the row: its session is ended first."""
        for f in [f for f in s.flights if f.id == peer and f.n < 0 and f.held]:
            s = self._lose_step(land(s, f), f)
        return s._replace(db=self._released(s, s.db, peer))

    def _released(self, s: State, db: Db, peer: int) -> Db:
        run = db.run
        if run.owner == peer:
            run = run._replace(state="ready", owner=None, due=True)
        marks = db.marks
        if not self.rules.marks_outlive_worker:
            marks = frozenset(m for m in marks if m[0] != peer)
        return db._replace(run=run, gone=db.gone - {peer}, marks=marks)

    def _land(self, s: State, call: tuple[int, int]) -> State:
        landed = 1 if self.scenario.provider == "keyed" else s.landed + 1
        if landed > 1:
            raise Violation("effect happened twice")
        return s._replace(calls=s.calls - {call}, landed=landed)

    def _step_commit(self, s: State, f: Flight) -> Iterator[Move]:
        if not f.heard:
            yield f"the step of {f.id} is rolled back", land(s, f), False
        if "tx" in s.db.journal and self.rules.one_entry_per_step:
            raise Violation("entry written twice")
        db = s.db._replace(rows=s.db.rows + 1, journal=s.db.journal | {"tx"})
        if db.rows > 1:
            raise Violation("transaction step applied twice")
        after = land(s, f)._replace(db=db, before=None)
        if f.heard:
            who, p = owner_of(s, f.id)
            assert p.run is not None
            after = remember(after, who, p, call="", seen=p.run.seen | {"tx"})
        yield f"the step of {f.id} commits", after, False

    # A person: send_message() in a transaction --------------------------------------------------------------------

    def _sender(self, s: State) -> Iterator[Move]:
        db, run = s.db, s.db.run
        if (
            s.sender == ""
            and s.faults[FAULTS.index("cancel")]
            and run.state not in ("none", *ENDED)
        ):
            idle = "idle" if run.owner is None else "owned"
            if self.rules.sender_sees_present:
                yield (
                    "a cancel is inserted",
                    spend(s, "cancel")._replace(sender=f"open-{idle}"),
                    False,
                )
            else:
                yield (
                    "a transaction takes its snapshot",
                    spend(s, "cancel")._replace(sender=f"snapshot-{idle}"),
                    False,
                )
        elif s.sender.startswith("snapshot"):
            after = s._replace(
                sender=s.sender.replace("snapshot", "open") if run.state not in ENDED else ""
            )
            yield "a cancel is inserted", after, False
        elif s.sender.startswith("open"):
            if run.state in ENDED:  # it did not hold the run, which has ended meanwhile
                raise Violation("accepted cancel ignored")
            if s.sender == "open-idle" or (
                self.rules.sender_locks_run and self.rules.sender_sees_present
            ):
                run = woken(run, even_parked=True)
            db = db._replace(run=run, messages=db.messages | {"cancel"}, cancel_accepted=True)
            yield "the cancel commits", s._replace(db=db, sender="", before=None), False

    # What may go wrong --------------------------------------------------------------------------------------------

    def _faults(self, s: State) -> Iterator[Move]:  # noqa: C901  (one case per fault)
        left = dict(zip(FAULTS, s.faults, strict=True))
        for who, p in enumerate(s.processes):
            if left["crash"] and p.alive:
                yield f"{who} crashes", self._die(spend(s, "crash"), who, p), True
            begun = p.run is not None and p.run.call != "tx"
            if left["leave"] and p.alive and who != CLIENT and not p.out and not begun:
                after = self._die(spend(s, "leave"), who, p)
                workers = after.db._replace(workers=after.db.workers - {p.id})
                if self.rules.resigning_hands_over:
                    workers = self._released(after, workers, p.id)
                yield f"{who} resigns", after._replace(db=workers), True
            if left["cut"] and p.taking is not None:
                after = put(spend(s, "cut"), who, p._replace(taking=None))
                yield f"the connection of {who} is cut before it has released them", after, True
        for f in s.flights:
            if left["cut"] and f.heard:
                after = fly(land(spend(s, "cut"), f), f._replace(heard=False))
                yield (
                    f"the connection of {f.id} is cut",
                    self._lose_step(after, f) if f.n < 0 else after,
                    True,
                )
            if left["refusal"] and f.heard and f.n > 0 and any(op[0] == "entry" for op in f.ops):
                yield (
                    f"flush {f.n} of {f.id} is refused",
                    self._refuse(land(spend(s, "refusal"), f), f),
                    True,
                )
        if left["loss"] and s.before is not None:
            db, lost = s.before
            after = spend(s, "loss")
            for f in s.flights:  # no session survives it
                after = self._lose_step(land(after, f), f) if f.n < 0 else land(after, f)
            yield (
                f"a failover loses the last flush of {lost}",
                after._replace(db=db, before=None, lied_to=lost),
                True,
            )
        if left["resume"] and s.db.run.state == "attention":
            run = s.db.run._replace(state="ready", due=True)
            yield (
                "a person resumes the run",
                spend(s, "resume")._replace(db=s.db._replace(run=run)),
                False,
            )

    def _die(self, s: State, who: int, p: Process) -> State:
        flights = frozenset(f._replace(heard=False) if f.id == p.id else f for f in s.flights)
        return put(s._replace(flights=flights), who, Process(p.id, alive=False))

    def _refuse(self, s: State, f: Flight) -> State:
        """Engine.poisoned: the run is parked. A body in a thread cannot be stopped; a body in the loop is."""
        who, p = owner_of(s, f.id)
        run = p.run
        assert run is not None
        sends = run.call == "intended" and not self.rules.refused_is_not_sent
        p = p._replace(out=(), stray=run.claim if run.call == "tx" else 0)
        s = s._replace(
            flights=frozenset(g._replace(heard=False) if g.id == f.id else g for g in s.flights)
        )
        run = run._replace(
            call="ready" if sends else "", parked=True, leaving=False, cancelled=False
        )
        return put(s, who, p._replace(open=(), run=run))
