"""Our effects as a source: what runs have sent, what is known of it, and what they are in doubt about."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, ParamSpec, TypeVar
from uuid import UUID

from troth.base import codec
from troth.base.errors import UsageError
from troth.base.money import Money
from troth.journal.model import UNDO_PREFIX, Reason
from troth.reconcile.model import Item, Page, Source, Standing, Window
from troth.store.parts import Connections
from troth.store.queries import Queries, load
from troth.store.tx import Row
from troth.workflow.consequences import EffectDefinition
from troth.workflow.definition import StepDefinition
from troth.workflow.record import key_text

P = ParamSpec("P")
R = TypeVar("R")

_PAGE: Final = 500
# A run stands for one of these where nobody knows what became of an effect.
_DOUBT: Final = frozenset({Reason.IN_DOUBT, Reason.RETRIES_EXHAUSTED, Reason.UNDO_FAILED})


@dataclass(frozen=True, slots=True)
class Moved:
    """What an effect moves: *money*, positive if it comes to us. The texts are those of an `Item`."""

    money: Money
    kind: str = ""
    reference: str = ""
    group: str = ""


class Effects(Generic[P, R]):
    """The effects of one definition: `Effects(charge, lambda order, money: Moved(money, "charge"))`.

    *what* makes of an effect's arguments what it moves. The item's key is the effect's idempotency key; its time is when it
    was sent for the first time. An effect that was undone is `REVERSED`; one that nobody knows of is `IN_DOUBT`.

    *found* makes of their item what the effect would have returned: with it, an effect in doubt that their side shows is
    settled by it. *undo_of*: the definition is the undo of that step. *reach*: a run may have begun so long before it sends.
    """

    def __init__(
        self,
        effect: EffectDefinition[P, R],
        what: Callable[P, Moved],
        *,
        found: Callable[[Item], R] | None = None,
        undo_of: StepDefinition[Any, Any] | None = None,
        reach: timedelta = timedelta(days=35),
    ) -> None:
        if undo_of is not None and undo_of.undoing is not effect:
            raise UsageError(f"{effect.name} does not undo {undo_of.name}")
        self.name = f"effect {effect.name}"
        self._effect = effect
        self._what = what
        self._found = found
        self._reach = reach
        named = re.escape((undo_of or effect).name)
        prefix = UNDO_PREFIX if undo_of is not None else ""
        self._pattern = rf"^{prefix}([0-9.]+:)?{named}(#[0-9]+)?$"

    def within(self, schema: str, connections: Connections) -> Source:
        """The source, for one schema."""
        return _Within(self, schema, connections)

    def params(self, window: Window) -> dict[str, Any]:
        """What is asked of the journal."""
        return {
            "first": window.first, "last": window.last, "reach_s": self._reach.total_seconds(),
            "pattern": self._pattern,
        }  # fmt: skip

    def item(self, row: Row) -> Item:
        """One effect as an item. Raises `PayloadError` for arguments that do not fit the code any more."""
        run, path, at, payload, ok, refusals, undone, state, reason, detail, ended = row
        args, kwargs = self._effect.arguments.by_position(payload)
        moved: Any = self._what(*args, **kwargs)
        if not isinstance(moved, Moved):
            msg = f"what= of {self.name} returned {moved!r}: it must be a Moved"
            raise UsageError(msg)
        if ok is not None:
            standing = Standing.DONE if ok else Standing.FAILED
            standing = Standing.REVERSED if ok and undone else standing
        elif _in_doubt(path, state, reason, detail) or ended is not None:
            standing = Standing.IN_DOUBT
        else:
            standing = Standing.PENDING
        return Item(
            f"{run}/{path}", moved.money.minor, moved.money.currency, at, key_text(run, path, refusals), standing,
            moved.kind, 0, moved.reference, moved.group, f"troth effect show {run} {path}",
        )  # fmt: skip

    def result_of(self, theirs: Item) -> bytes:
        """What the effect would have returned, as JSON. Raises `UsageError` without *found*."""
        if self._found is None:
            raise UsageError(f"{self.name} has no found=, so their side cannot settle it")
        return self._effect.result.encode(self._found(theirs))


def _in_doubt(path: str, state: str | None, reason: str | None, detail: bytes | None) -> bool:
    if state != "attention" or reason not in _DOUBT:
        return False
    said = codec.decode(detail or b"{}")
    return isinstance(said, dict) and said.get("at") == path


class _Within:
    """Effects, with a database to read them in."""

    def __init__(self, effects: Effects[Any, Any], schema: str, connections: Connections) -> None:
        self._effects = effects
        self._q = queries(schema)
        self._connections = connections

    @property
    def name(self) -> str:
        """For people."""
        return self._effects.name

    async def page(self, cursor: str | None, window: Window) -> Page:
        """Some effects, in the order of runs and paths; the last page says how many there are."""
        run, _, path = (cursor or "").partition("/")
        params = self._effects.params(window)
        some = {**params, "run": run or None, "path": path, "limit": _PAGE}
        async with self._connections.connection() as tx:
            rows = await (await tx.execute(self._q.effects, some)).fetchall()
            items = [self._effects.item(row) for row in rows]
            if len(rows) == _PAGE:
                return Page(items, items[-1].id)
            counted = await (await tx.execute(self._q.effects_count, params)).fetchone()
        assert counted is not None
        return Page(items, None, counted[0])

    @staticmethod
    def effect_of(ours: Item) -> tuple[UUID, str]:
        """The run and the path of the effect that an item is."""
        run, _, path = ours.id.partition("/")
        return UUID(run), path

    def result_of(self, theirs: Item) -> bytes:
        """What the effect would have returned."""
        return self._effects.result_of(theirs)


def queries(schema: str) -> Queries:
    """The statements about what troth has recorded, for one schema."""
    return load("troth.reconcile.sources", schema, "own.sql")
