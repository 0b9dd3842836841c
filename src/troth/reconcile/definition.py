"""`Reconciliation`: two sources, and by what they are compared; a part of a program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from troth.base.errors import UsageError
from troth.reconcile import breaks_store, lifecycle, pairing, store
from troth.reconcile.checking import declared_currencies
from troth.reconcile.matching import Terms
from troth.reconcile.model import DAY, Break, BreakState, OwnSource, ReconcileError, Source, Window
from troth.reconcile.pairing import Rule
from troth.reconcile.relay import Plan, ReconcileRelay
from troth.reconcile.rules import FeeTerms, Policy
from troth.reconcile.settling import Correct
from troth.store.parts import Relay
from troth.store.tx import Tx

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MOMENT: Final = timedelta(microseconds=1)
_MOST: Final = 10_000  # breaks of one look


def _require_name(given: object) -> None:
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        msg = f"{given!r} is no name of a reconciliation: up to 63 of a-z, 0-9, dot, dash and underscore"
        raise UsageError(msg)


def _require_source(name: str, word: str, given: object) -> None:
    reads = callable(getattr(given, "page", None)) or callable(getattr(given, "within", None))
    if not reads or not isinstance(getattr(given, "name", None), str):
        msg = f"reconciliation {name}: {word}= is a source, with a name and a method page, not {given!r}"
        raise UsageError(msg)


def _require_time(name: str, word: str, given: object, *, least: timedelta) -> None:
    if not isinstance(given, timedelta) or given < least:
        wanted = "longer than nothing" if least else "not negative"
        raise UsageError(f"reconciliation {name}: {word}= is a timedelta, {wanted}, not {given!r}")


class Reconciliation:
    """Compares two sides: `books = troth.include(Reconciliation("stripe", ours=…, theirs=…))`.

    Workers run it every *every* (None: only when somebody asks, `troth reconcile run`), each time for what counts since
    *lookback* ago or since the oldest break that stands, but not in a closed period. *margin*: the other half of an item is
    looked for so far outside, too; without it, *grace*.

    *rules* are tried, in order, on what keys do not match. *grace*: an item may be alone for so long. *tolerance*: minor
    units that are rounding, and booked. *fees*: what they may keep. *correct* books what a person wants corrected: it gets
    the transaction in which the break is marked as corrected, and returns the name of what it has booked. *page_timeout*:
    what a source may take for one page. *keep*: what so many runs have read is kept. *currencies*: codes of what items may be
    in that is no currency of ISO 4217, such as points or tokens.

    Raises `UsageError` for what cannot be.
    """

    def __init__(
        self,
        name: str,
        *,
        ours: Source | OwnSource,
        theirs: Source | OwnSource,
        rules: Sequence[Rule] = (),
        grace: timedelta = DAY,
        tolerance: int = 0,
        fees: FeeTerms | None = None,
        every: timedelta | None = None,
        lookback: timedelta = 7 * DAY,
        margin: timedelta | None = None,
        correct: Correct | None = None,
        page_timeout: timedelta = timedelta(minutes=1),
        keep: int = 3,
        currencies: Sequence[str] = (),
    ) -> None:
        _require_name(name)
        for word, side in (("ours", ours), ("theirs", theirs)):
            _require_source(name, word, side)
        for word, time in (
            ("every", every),
            ("lookback", lookback),
            ("page_timeout", page_timeout),
        ):
            if time is not None:
                _require_time(name, word, time, least=_MOMENT)
        for word, time in (("grace", grace), ("margin", margin)):
            if time is not None:
                _require_time(name, word, time, least=timedelta(0))
        if type(keep) is not int or keep < 1:
            raise UsageError(f"reconciliation {name}: keep= is a number from 1, not {keep!r}")
        if correct is not None and not callable(correct):
            raise UsageError(f"reconciliation {name}: correct= is a function, not {correct!r}")
        pairing.check(rules)
        self.name = name
        self._sources = (ours, theirs)
        self._plan = Plan(
            Terms(name, tuple(rules), Policy(grace, tolerance, fees)),
            None if every is None else every.total_seconds(),
            lookback,
            grace if margin is None else margin,
            page_timeout.total_seconds(),
            correct,
            keep,
            declared_currencies(currencies),
        )
        self._schema: str | None = None

    def bind(self, schema: str) -> None:
        """Work with the tables of this schema. Called by `troth.include`."""
        self._schema = schema

    async def ask(
        self,
        tx: Tx,
        *,
        by: str,
        since: datetime | None = None,
        until: datetime | None = None,
        note: str | None = None,
    ) -> int:
        """Ask for a run in the transaction *tx*; its number. Workers do it when that has committed.

        *since* None: as far as a run looks back that is due. *until* None: now. Raises `ReconcileError` if one is asked for or
        under way, and `UsageError` for a window that is none.
        """
        q, plan = store.queries(self.schema), self._plan
        now, closed, oldest = await store.span(tx, q, self.name)
        usual = lifecycle.window_of(now, closed, oldest, plan.lookback, plan.margin)
        first = since if since is not None else (usual.since if usual else now)
        last = until if until is not None else now
        lifecycle.require_window(first, last, now)
        made = await store.ask(tx, q, self.name, Window(first, last, plan.margin), by, note)
        if made is None:
            msg = (
                f"a run of {self.name} is asked for or under way: troth reconcile runs {self.name}"
            )
            raise ReconcileError(msg)
        return made

    async def breaks(
        self, tx: Tx, *, states: Sequence[BreakState] = (BreakState.OPEN,), limit: int = 1000
    ) -> list[Break]:
        """Its breaks that stand so, those with the most money first. Raises `UsageError` for a *limit* beyond 10,000."""
        if type(limit) is not int or not 1 <= limit <= _MOST:
            raise UsageError(f"limit= is 1 to {_MOST}, not {limit!r}")
        q = breaks_store.queries(self.schema)
        return await breaks_store.breaks(tx, q, self.name, states=list(states), limit=limit)

    @property
    def schema(self) -> str:
        """Where its tables are. Raises `UsageError` before it is included."""
        if self._schema is None:
            msg = f"reconciliation {self.name} belongs to no Troth yet: troth.include(…)"
            raise UsageError(msg)
        return self._schema

    @property
    def relays(self) -> Sequence[Relay]:
        """What workers do."""
        return [ReconcileRelay(self._plan, self._sources, self.schema)]
