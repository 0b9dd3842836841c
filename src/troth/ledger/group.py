"""Group posting: what many callers post at once goes to the database in one call, one transaction, one durable commit.

A call of many items locks the balances of all its accounts, for as long as a commit takes, and makes entries at once: that is
less work than folding later. A small one leaves its legs in the queue, as in any transaction: its callers wait less. Whoever
posts waits for the commit. A connection that is lost during COMMIT leaves open whether that took
effect; the same call is sent again, and the ids tell: what was posted exists.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from troth.base.errors import UsageError
from troth.ledger import rules
from troth.ledger.model import Item, Linked, Result
from troth.ledger.rules import Prepared
from troth.store import arrays, raw
from troth.store.connect import Database, connect_async
from troth.store.errors import DatabaseUnavailable
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.queries import Queries

log = logging.getLogger("troth.ledger")

PATIENCE_S: Final = 30.0
_DIRECT: Final = 64  # items, from which on a call makes its entries itself
_PLAIN: Final = 6  # arrays of transfers with two legs that say nothing else
_UNKNOWN: Final = frozenset({Failure.LOST, Failure.CONFLICT, Failure.AGAIN})  # no item's fault
_AGAIN_S: Final = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
_ALONE: Final = (None,)  # the group of an item that is in none
_ARRAYS: Final[Sequence[tuple[Callable[[Any], arrays.Array], int]]] = (
    (arrays.names, arrays.TextArray.array),  # accounts and their currencies
    (arrays.names, arrays.TextArray.array),
    (arrays.uuids, arrays.UuidArray.array),  # ids, both sides, amounts
    (arrays.int4s, arrays.Int4Array.array),
    (arrays.int4s, arrays.Int4Array.array),
    (arrays.int8s, arrays.Int8Array.array),
    (arrays.int2s, arrays.Int2Array.array),  # the rest, as in `rules.arrays`
    (arrays.uuids, arrays.UuidArray.array),
    (arrays.bools, arrays.BoolArray.array),
    (arrays.float8s, arrays.Float8Array.array),
    (arrays.float8s, arrays.Float8Array.array),
    (arrays.int4s, arrays.Int4Array.array),
    (arrays.texts, arrays.TextArray.array),
    (arrays.texts, arrays.TextArray.array),
    (arrays.texts, arrays.TextArray.array),
    (arrays.texts, arrays.TextArray.array),
    (arrays.int4s, arrays.Int4Array.array),
    (arrays.int4s, arrays.Int4Array.array),
    (arrays.int8s, arrays.Int8Array.array),
)
_BOOL: Final = 16  # its type's number
_TYPES: Final = [_BOOL, *(number for _, number in _ARRAYS)]


class _Unit(NamedTuple):
    """What one caller posts with one call."""

    prepared: Sequence[Prepared]
    groups: Sequence[int | None]
    done: asyncio.Future[list[Result]]


class Poster:
    """Posts for many callers of one event loop. Refusals are recorded, and final for their ids.

    A call that fails for one item's sake is halved until it is found, so nobody fails for another one's. Raises
    `DatabaseUnavailable` to whoever waits when the database has not answered for half a minute: then it is not known
    whether the item was posted, and the same item may be posted again.
    """

    def __init__(self, queries: Queries, url: str | None, *, batch: int, flights: int) -> None:
        if not 1 <= batch <= rules.MOST_ITEMS or flights < 1:
            msg = f"batch is 1 to {rules.MOST_ITEMS}, flights at least 1; not {batch} and {flights}"
            raise UsageError(msg)
        self._q = queries
        self._url = url
        self._batch = batch
        self._flights = flights
        self._waiting: deque[_Unit] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._database: Database | None = None
        self._size = 0  # items that wait
        self._flying = 0  # calls under way
        self.calls = 0  # that were answered

    async def __aenter__(self) -> Self:
        self._database = await asyncio.to_thread(Database.find, self._url)
        self._closing = False
        for number in range(self._flights):
            flight = _Flight(self._q, self._database.url)
            task = asyncio.create_task(self._fly(flight), name=f"troth ledger poster {number}")
            self._tasks.append(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        """Wait until what was asked for is posted."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._database is not None:
            await asyncio.to_thread(self._database.close)

    # What callers ask -------------------------------------------------------------------------------------------------

    async def post(self, item: Item) -> Result:
        """Post an item; when this returns, that is durable. Raises `TransferRefused` and `InvalidTransferError`."""
        prepared = (rules.prepare(item),)
        found = await self._ask(prepared, _ALONE)
        rules.require_posted(prepared, found)
        return found[0]

    async def try_post(self, item: Item) -> Result:
        """As `post`, but a refusal is an answer. Raises `InvalidTransferError`."""
        return (await self._ask((rules.prepare(item),), _ALONE))[0]

    async def try_post_all(self, items: Sequence[Item | Linked]) -> list[Result]:
        """Post items in one call, each for itself; what came of each. Raises `InvalidTransferError`."""
        return await self._ask(*rules.gather(items))

    def _ask(
        self, prepared: Sequence[Prepared], groups: Sequence[int | None]
    ) -> asyncio.Future[list[Result]]:
        if not self._tasks or self._closing:
            raise UsageError("this poster is not open: async with ledger.poster(url) as poster: …")
        unit = _Unit(prepared, groups, asyncio.get_running_loop().create_future())
        self._waiting.append(unit)
        self._size += len(prepared)
        self._wake.set()
        return unit.done

    # Calls ------------------------------------------------------------------------------------------------------------

    async def _fly(self, flight: _Flight) -> None:
        try:
            while True:
                await self._wake.wait()
                if self._flying and self._size < self._batch:
                    self._wake.clear()  # not a whole call yet: it goes when the one under way has returned
                    continue
                units = self._take()
                if units:
                    self._flying += 1
                    try:
                        await self._answer(flight, units)
                    finally:
                        self._flying -= 1
                        if self._waiting or self._closing:
                            self._wake.set()
                    # One more round of the loop: others who were told something post again now.
                    await asyncio.sleep(0)
                elif self._closing:
                    return
        finally:
            await flight.close()

    def _take(self) -> list[_Unit]:
        """The next units: as many as a call takes, and none with an id that another one of them has."""
        if self._size <= self._batch and self._are_apart():  # as a rule
            taken = list(self._waiting)
            self._waiting.clear()
            self._size = 0
            if not self._closing:
                self._wake.clear()
            return taken
        taken = []
        ids: set[object] = set()
        left: list[_Unit] = []
        while self._waiting:
            unit = self._waiting.popleft()
            prepared = unit.prepared
            if taken and len(ids) + len(prepared) > self._batch:
                self._waiting.appendleft(unit)
                break
            if unit.done.done():  # nobody waits any more
                self._size -= len(prepared)
                continue
            own = [each.id for each in prepared]
            if not ids.isdisjoint(own):
                left.append(unit)
                continue
            self._size -= len(prepared)
            taken.append(unit)
            ids.update(own)
        self._waiting.extendleft(reversed(left))
        if not self._waiting and not self._closing:
            self._wake.clear()
        return taken

    def _are_apart(self) -> bool:
        """Does somebody wait for each unit, and has each item an id of its own?"""
        ids = {each.id.int for unit in self._waiting for each in unit.prepared}
        return len(ids) == self._size and not any(unit.done.done() for unit in self._waiting)

    async def _answer(self, flight: _Flight, units: Sequence[_Unit]) -> None:
        prepared = [each for unit in units for each in unit.prepared]
        try:
            found = await flight.post(prepared, _groups(units))
        except asyncio.CancelledError:
            for unit in units:
                unit.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001  (it is raised to whoever asked)
            if len(units) == 1 or failure_of(error) in _UNKNOWN:
                for unit in units:
                    if not unit.done.done():
                        unit.done.set_exception(error)
                return
            for part in (units[: len(units) // 2], units[len(units) // 2 :]):
                await self._answer(flight, part)
            return
        self.calls += 1
        at = 0
        for unit in units:
            end = at + len(unit.prepared)
            if not unit.done.done():
                unit.done.set_result(found[at:end])
            at = end


def _groups(units: Sequence[_Unit]) -> Sequence[int | None]:
    """The linked group of each item, numbered anew for the whole call."""
    if all(unit.groups is _ALONE for unit in units):
        return [None] * len(units)
    return [
        None if group is None else number * rules.MOST_ITEMS + group
        for number, unit in enumerate(units)
        for group in unit.groups
    ]


class _Flight:
    """One connection, with one call at a time."""

    def __init__(self, queries: Queries, url: str) -> None:
        self._q = queries
        self._url = url
        self._line: raw.Line | None = None

    async def post(self, prepared: Sequence[Prepared], groups: Sequence[int | None]) -> list[Result]:  # fmt: skip
        """Post until it is known what came of it. Raises what can never succeed, and `DatabaseUnavailable` after a while."""
        values = rules.arrays(prepared, groups)
        # What nobody has asked for is not even sent.
        count = _PLAIN if all(value is None for value in values[_PLAIN:]) else len(values)
        params: list[Any] = [b"\1" if len(prepared) >= _DIRECT else b"\0"]
        params += [
            None if value is None else encode(value)
            for value, (encode, _) in zip(values[:count], _ARRAYS, strict=False)
        ]
        began = asyncio.get_running_loop().time()
        tries = 0
        while True:
            try:
                row = await self._call(params)
            except (DatabaseError, DatabaseUnavailable, OSError) as error:
                failure = failure_of(error)
                if failure is Failure.LOST:
                    await self.close()
                elif failure not in _UNKNOWN:
                    raise
                if asyncio.get_running_loop().time() - began > PATIENCE_S:
                    raise
                log.info("a call of the ledger's poster is sent again: %s", error)
                await asyncio.sleep(_AGAIN_S[min(tries, len(_AGAIN_S) - 1)])
                tries += 1
            else:
                return rules.results(prepared, *row)

    async def _call(self, params: Sequence[Any]) -> Any:
        if self._line is None:
            self._line = raw.Line(await connect_async(self._url))
        query = self._q.post_plain if len(params) == 1 + _PLAIN else self._q.post_encoded
        return await self._line.row(query, _TYPES[: len(params)], params)

    async def close(self) -> None:
        """Give the connection back; what it had not committed did not happen."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()
