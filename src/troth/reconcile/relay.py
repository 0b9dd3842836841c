"""The relay of a reconciliation: asks for a run when one is due, works at it phase by phase, books corrections, expires.

Every phase ends in a commit that names the next one, so whoever takes up the run of a process that died goes on there. Two
processes that work at one run by mistake are told apart by its turn, in every transaction that writes.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from troth.base.backoff import Retry
from troth.base.events import ReconcileBreak, ReconcileEnded
from troth.base.telemetry import SILENT
from troth.reconcile import breaks_store, lifecycle, matching, settling, store
from troth.reconcile.matching import Comparison, Terms
from troth.reconcile.model import Counts, Feed, OwnSource, Phase, Side, Source, Verdict
from troth.reconcile.reading import Bench, LostTurnError, read
from troth.reconcile.settling import Correct
from troth.reconcile.store import Taken
from troth.store.connect import AsyncConnection
from troth.store.failure import DatabaseError
from troth.store.isolation import transaction_async
from troth.store.parts import Connections, Workplace
from troth.store.tx import Tx

log = logging.getLogger("troth.reconcile")

RETRY: Final = Retry(attempts=8, first=timedelta(seconds=1), longest=timedelta(minutes=10))
_IDLE_S: Final = 30.0
_SOON_S: Final = 0.05
_SAID: Final = 1000  # characters of an error


@dataclass(frozen=True, slots=True)
class Plan:
    """A reconciliation, as its relay needs it. *every_s*: None: only when somebody asks. *keep*: items of so many runs."""

    terms: Terms
    every_s: float | None
    lookback: timedelta
    margin: timedelta
    page_timeout_s: float
    correct: Correct | None
    keep: int
    currencies: frozenset[str] = frozenset()
    retry: Retry = RETRY


class ReconcileRelay:
    """Works for one reconciliation."""

    channel = "reconcile"
    connections = 2

    def __init__(
        self, plan: Plan, sources: tuple[Source | OwnSource, Source | OwnSource], schema: str
    ) -> None:
        self._plan = plan
        self._given = sources
        self._sources: dict[Side, Source] = {}
        self._schema = schema
        self._q = store.queries(schema)
        self._telemetry = SILENT

    @property
    def name(self) -> str:
        """For logs."""
        return f"reconciliation {self._plan.terms.name}"

    async def work(self, place: Workplace) -> None:
        """Reconcile until cancelled."""
        self._telemetry = place.telemetry
        while True:
            await place.alarm.wait(await self.look(place.connections))

    async def look(self, connections: Connections) -> float:
        """Do what is to be done; seconds until there may be something else."""
        name, q = self._plan.terms.name, self._q
        self._sources = {
            side: each.within(self._schema, connections) if isinstance(each, OwnSource) else each
            for side, each in zip(Side, self._given, strict=True)
        }
        async with connections.connection() as connection:
            await self._declare(connection)
            await self._expire(connection)
            await self._ask_if_due(connection)
            bench = Bench(
                connections, q, self._plan.page_timeout_s, self._plan.terms.policy.grace, self._plan.currencies
            )  # fmt: skip
            taken = await store.take(connection, q, name, bench.lease_s)
        if taken is not None:
            await self._take(bench, taken)
        while await self._correct(connections):
            pass
        async with connections.connection() as connection:
            due_s = await store.due_in(connection, q, name)
        return min(max(_IDLE_S if due_s is None else due_s, _SOON_S), _IDLE_S)

    async def _declare(self, tx: Tx) -> None:
        plan, (ours, theirs) = self._plan, self._given
        times_s = (plan.every_s, plan.lookback.total_seconds(), plan.margin.total_seconds())
        await store.declare(tx, self._q, plan.terms.name, (ours.name, theirs.name), times_s)

    async def _expire(self, connection: AsyncConnection) -> None:
        q = breaks_store.queries(self._schema)
        expired = 1
        while expired:
            async with transaction_async(connection, "read committed"):
                expired = await breaks_store.expire(connection, q, self._plan.terms.name)

    async def _ask_if_due(self, tx: Tx) -> None:
        plan, name = self._plan, self._plan.terms.name
        if plan.every_s is None:
            return
        ago_s = await store.asked_ago_s(tx, self._q, name)
        if ago_s is not None and ago_s < plan.every_s:
            return
        now, closed, oldest = await store.span(tx, self._q, name)
        window = lifecycle.window_of(now, closed, oldest, plan.lookback, plan.margin)
        if window is not None:
            await store.ask(tx, self._q, name, window, None)

    # One run --------------------------------------------------------------------------------------------------------------

    async def _take(self, bench: Bench, taken: Taken) -> None:
        at = _Place(taken)
        try:
            await self._go_on(bench, at)
        except LostTurnError:
            log.info("%s: another process is at run %d", self.name, taken.id)
        except Exception as error:  # noqa: BLE001  (the user's source, the network, the database)
            said = f"{at.taken.phase}: {type(error).__name__}: {error}"[:_SAID].replace("\0", " ")
            await self._failed(bench, at.taken, said)

    async def _failed(self, bench: Bench, taken: Taken, said: str) -> None:
        again_s = self._plan.retry.wait_s(taken.failures + 1)
        if again_s is not None:
            log.warning("%s, run %d: again in %.0f s: %s", self.name, taken.id, again_s, said)
            async with bench.connections.connection() as connection:
                await store.fail(connection, bench.q, taken, again_s, said)
            return
        log.error("%s, run %d is given up: %s", self.name, taken.id, said)
        with contextlib.suppress(LostTurnError):
            async with bench.writing(taken) as connection:
                await self._give_up(connection, taken, said)
            self._ended(taken, Verdict.FAILED, Counts())

    async def _give_up(self, tx: Tx, taken: Taken, said: str) -> None:
        """What cannot be read is not clean: that is a break, too."""
        name, q = self._plan.terms.name, breaks_store.queries(self._schema)
        if taken.phase in {Phase.OURS, Phase.THEIRS}:
            side = Side.OURS if taken.phase is Phase.OURS else Side.THEIRS
            found = matching.stale(side, self._sources[side].name, taken.window, said)
            await breaks_store.write(tx, q, name, taken.id, [found])
        await store.end(tx, self._q, taken.id, Verdict.FAILED, Counts(), said)

    def _ended(self, taken: Taken, verdict: Verdict, counts: Counts) -> None:
        seconds = max(0.0, (datetime.now(UTC) - taken.began_at).total_seconds())
        self._telemetry.emit(
            ReconcileEnded(
                self._plan.terms.name, taken.id, verdict, counts.by_key + counts.by_rule,
                sum(counts.breaks.values()), counts.settled, seconds,
            )
        )  # fmt: skip

    async def _go_on(self, bench: Bench, at: _Place) -> None:
        if at.taken.phase is Phase.ASKED:
            async with bench.writing(at.taken) as connection:
                told = matching.describe(self._plan.terms)
                await store.enter(connection, bench.q, at.taken.id, Phase.OURS, rules=told)
            at.move(Phase.OURS)
        if at.taken.phase is Phase.OURS:
            feed = await read(bench, at.taken, Side.OURS, self._sources[Side.OURS])
            at.move(Phase.THEIRS, ours=feed)
        if at.taken.phase is Phase.THEIRS:
            feed = await read(bench, at.taken, Side.THEIRS, self._sources[Side.THEIRS])
            at.move(Phase.MATCHING, theirs=feed)
        if at.taken.phase is Phase.MATCHING:
            await self._compare(bench, at.taken)
            at.move(Phase.SETTLING)
        await self._settle(bench, at.taken)

    async def _compare(self, bench: Bench, taken: Taken) -> None:
        assert taken.ours is not None
        assert taken.theirs is not None
        name, window = self._plan.terms.name, taken.window
        async with bench.writing(taken) as connection:
            feeds = (taken.ours, taken.theirs)
            comparison = Comparison(
                connection, self._schema, self._plan.terms, taken.id, window, feeds
            )
            outcome = await comparison.compare()
            await store.enter(connection, bench.q, taken.id, Phase.SETTLING)
            await store.found(
                connection, bench.q, taken.id, outcome.counts, outcome.verdict, outcome.result
            )
        for news in outcome.news:
            age_s = max(0.0, (window.until - news.at).total_seconds())
            self._telemetry.emit(
                ReconcileBreak(
                    name, taken.id, news.kind, news.what, news.minor, news.currency, age_s, news.breaks
                )
            )  # fmt: skip

    async def _settle(self, bench: Bench, taken: Taken) -> None:
        name = self._plan.terms.name
        ours = self._sources[Side.OURS]
        await settling.settle_all(bench, self._schema, name, taken, ours, self._telemetry)
        q = breaks_store.queries(self._schema)
        async with bench.writing(taken) as connection:
            counts, verdict = await store.outcome(connection, bench.q, taken.id)
            counts = replace(counts, settled=await breaks_store.settled(connection, q, taken.id))
            if verdict is Verdict.BREAKS and not await breaks_store.open_found(
                connection, q, name, taken.id
            ):
                verdict = Verdict.EXPLAINED
            await store.end(connection, bench.q, taken.id, verdict, counts)
        self._ended(taken, verdict, counts)
        try:
            async with bench.connections.connection() as connection:
                await store.forget(connection, bench.q, name, self._plan.keep)
        except DatabaseError as error:  # somebody reads what is to be forgotten: after the next run
            log.info("%s: items of older runs are still there: %s", self.name, error)

    # Corrections ----------------------------------------------------------------------------------------------------------

    async def _correct(self, connections: Connections) -> bool:
        """Book one correction that somebody wants; false: none waits."""
        name = self._plan.terms.name
        number: int | None = None
        try:
            async with (
                connections.connection() as connection,
                transaction_async(connection, "read committed"),
            ):
                q = breaks_store.queries(self._schema)
                number = await breaks_store.next_wanted(connection, q, name)
                if number is None:
                    return False
                await settling.correct(connection, self._schema, number, self._plan.correct)
        except Exception as error:
            if number is None:
                raise
            said = f"{type(error).__name__}: {error}"[:_SAID].replace("\0", " ")
            log.warning("%s: break %d is not corrected: %s", self.name, number, said)
            async with (
                connections.connection() as connection,
                transaction_async(connection, "read committed"),
            ):
                await settling.cannot_correct(connection, self._schema, number, said)
        return True


@dataclass(slots=True)
class _Place:
    """How far this process has come with a run."""

    taken: Taken

    def move(self, phase: Phase, ours: Feed | None = None, theirs: Feed | None = None) -> None:
        """Into another phase, with what was read."""
        was = self.taken
        self.taken = replace(
            was, phase=phase, failures=0, ours=ours or was.ours, theirs=theirs or was.theirs
        )
