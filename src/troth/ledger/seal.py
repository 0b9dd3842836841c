"""Sealing: puts what has committed into the next block, and walks the chain to see whether it still holds.

Calls that have committed wait in `ledger_unsealed`, which is consumed and not read by a cursor: whatever the order in which
transactions commit, none is passed over. Sealing never holds up posting.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from troth.ledger import blocks
from troth.ledger.blocks import GENESIS, Block, Leaf
from troth.store.isolation import transaction_async
from troth.store.parts import Workplace
from troth.store.queries import Queries, load
from troth.store.tx import Tx

log = logging.getLogger("troth.ledger")

MOST_CALLS: Final = 2000  # in a block
_MOST_LEAVES: Final = 16384  # to read at once: more than one call has, so one is always complete
_REFUSAL: Final = 7  # of a row, the words of a refusal end here
_PAGE: Final = 8
_ALL: Final = 2**31 - 1
_EVERY_S: Final = 2.0


def queries(schema: str) -> Queries:
    """The statements of sealing."""
    return load("troth.ledger", schema, "seal.sql")


async def seal(tx: Tx, schema: str, *, calls: int = MOST_CALLS) -> Block | None:
    """Make the next block of what waits, at most so many *calls*; None if nothing waits, or if somebody else made one.

    *tx* is read committed. Others that seal wait until it ends.
    """
    q = queries(schema)
    await tx.execute(q.planned)
    waiting = await (await tx.execute(q.unsealed, {"limit": calls})).fetchall()
    if not waiting:
        return None
    last = await (await tx.execute(q.latest)).fetchone()
    number, previous = (last[0] + 1, bytes(last[1])) if last else (1, GENESIS)
    asked = [row[0] for row in waiting]
    batches, leaves = blocks.complete(
        asked, await _leaves(tx, q, asked, _MOST_LEAVES), _MOST_LEAVES
    )
    made = blocks.make(number, previous, batches, leaves)
    params = {
        "number": made.number,
        "previous": made.previous,
        "hash": made.hash,
        "batches": list(made.batches),
        "seqs": list(made.seqs),
        "digests": made.digests,
    }
    added = await (await tx.execute(q.seal, params)).fetchone()
    return made if added and added[0] else None


async def seal_all(tx: Tx, schema: str) -> list[Block]:
    """Seal until nothing waits. *tx* is read committed, and keeps others from sealing until it ends."""
    made: list[Block] = []
    while block := await seal(tx, schema):
        made.append(block)
    return made


async def head(tx: Tx, schema: str) -> tuple[int, bytes] | None:
    """The number and the hash of the latest block: what to keep elsewhere. None before the first."""
    row = await (await tx.execute(queries(schema).latest)).fetchone()
    return (row[0], bytes(row[1])) if row else None


async def faults(
    tx: Tx, schema: str, *, anchor: tuple[int, bytes] | None = None
) -> AsyncIterator[str]:
    """What is wrong with the chain and with what it seals, a sentence each; one block in memory at a time.

    *anchor*: a block's number and hash that were kept elsewhere. *tx* is one snapshot (repeatable read).
    """
    q = queries(schema)
    await tx.execute(q.planned)
    number, previous, anchored = 0, GENESIS, anchor is None
    while rows := await (await tx.execute(q.blocks, {"after": number, "limit": _PAGE})).fetchall():
        for row in rows:
            kept = _block(row)
            for missing in range(number + 1, kept.number):
                yield f"block {missing} is gone"
            leaves = await _leaves(tx, q, list(kept.batches), _ALL)
            for fault in blocks.differences(kept, previous, leaves):
                yield fault
            if anchor is not None and kept.number == anchor[0]:
                anchored = True
                if kept.hash != anchor[1]:
                    yield f"block {kept.number} is not the one whose hash was kept: {anchor[1].hex()}"
            number, previous = kept.number, kept.hash
    if anchor is not None and not anchored:
        yield f"block {anchor[0]}, whose hash was kept, is gone"
    outside = await (await tx.execute(q.outside, {"limit": 20})).fetchall()
    for seq, _ in outside:
        yield f"number {seq} is in no block and does not wait for one"
    if outside and outside[0][1] > len(outside):
        yield f"{outside[0][1] - len(outside)} more numbers are in no block"


async def _leaves(tx: Tx, q: Queries, batches: list[int], most: int) -> list[Leaf]:
    rows = await (await tx.execute(q.leaves, {"batches": batches, "limit": most})).fetchall()
    return [
        Leaf(row[0], [*row[1:-1], *(row[-1] or ())] if row[1] == "transfer" else row[1:_REFUSAL])
        for row in rows
    ]


def _block(row: tuple[int, bytes, bytes, datetime, list[int], list[int], bytes]) -> Block:
    number, previous, hash_, sealed_at, batches, seqs, digests = row
    return Block(
        number,
        bytes(previous),
        bytes(hash_),
        sealed_at,
        tuple(batches),
        tuple(seqs),
        bytes(digests),
    )


class Sealing:
    """The relay of worker processes that seals."""

    name = "ledger sealing"
    channel = "ledger"
    connections = 1

    def __init__(self, schema: str) -> None:
        self._schema = schema

    async def work(self, place: Workplace) -> None:
        """Seal what waits: a block now and then, or one after the other while they are full."""
        while True:
            async with (
                place.connections.connection() as connection,
                transaction_async(connection, "read committed"),
            ):
                made = await seal(connection, self._schema)
            if made is not None:
                log.debug("block %s seals %s numbers", made.number, len(made.seqs))
            if made is None or not made.is_full(MOST_CALLS, _MOST_LEAVES // 2):
                await place.alarm.wait(_EVERY_S)
