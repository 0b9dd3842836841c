"""A process that reconciles, says where it is, and stands still at one place until it is killed.

Arguments: URL, schema, the run that is in doubt, and the place: `ours:100`, `theirs:None`, `again:100`, `matching`, or `nowhere`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from uuid import UUID

from tests.reconcile.conftest import Listed, both, item
from troth import Troth
from troth.reconcile import Item, Page, Reconciliation, Standing, Window
from troth.reconcile.model import Staged
from troth.reconcile.pairing import Ground, On, Paired
from troth.store.connect import pool_async


def stand(place: str, wanted: str) -> None:
    print(place, flush=True)  # noqa: T201
    if place == wanted:
        sys.stdin.read()


class Side(Listed):
    """A list that says which page it is asked for."""

    word = "ours"
    wanted = "nowhere"

    async def page(self, cursor: str | None, window: Window) -> Page:
        word = "again" if cursor in self.asked else self.word
        stand(f"{word}:{cursor}", self.wanted)
        return await super().page(cursor, window)

    @staticmethod
    def effect_of(ours: Item) -> tuple[UUID, str]:
        run, _, path = ours.id.partition("/")
        return UUID(run), path

    @staticmethod
    def result_of(theirs: Item) -> bytes:
        return f'"{theirs.id}"'.encode()


class Gate:
    """A rule that matches nothing, and stands where it would."""

    name, version = "gate", 1
    on: Sequence[On] = ()

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted

    def apart(self, _before: Staged, _after: Staged) -> bool:
        return False

    def pair(self, items: Sequence[Staged], _ground: Ground) -> Paired:
        stand("matching", self._wanted)
        return Paired(left=list(items))

    def __repr__(self) -> str:
        return "Gate()"


def sides(run: str, wanted: str = "nowhere") -> tuple[Side, Side]:
    """Both sides: 250 that agree, one in doubt, a duplicate, and one on each side that has no other half."""
    ours, theirs = both(250)
    ours += [item(f"{run}/refund", 700, key="doubt", standing=Standing.IN_DOUBT), item("lonely", 5)]
    theirs += [item("re_1", 700, key="doubt"), item("ch_twice", key="k7"), item("stranger", 6)]
    mine, yours = Side("our list", ours), Side("their list", theirs, counts=False)
    mine.wanted = yours.wanted = wanted
    yours.word = "theirs"
    return mine, yours


async def main(url: str, schema: str, run: str, wanted: str) -> None:
    troth = Troth(url, schema=schema)
    mine, yours = sides(run, wanted)
    books = Reconciliation("bank", ours=mine, theirs=yours, rules=[Gate(wanted)])
    (relay,) = troth.include(books).relays
    pool = pool_async(url, 1, 3)
    await pool.open()
    await relay.look(pool)  # type: ignore[attr-defined]
    await pool.close()
    print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
