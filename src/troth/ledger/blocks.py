"""Blocks: what was posted and refused, chained by hashes, so that a later change of any of it shows. Pure.

Each transfer and each refusal has a digest of all that it says, with the codes and currencies of its accounts, so that a
renamed account shows, too. A block's hash covers those digests in order, which calls they came from, and the hash of the
block before. Nothing of it depends on a server's transaction numbers, so it survives dump and restore.

A chain tells of changes only whoever cannot rewrite all of it. The hash of the latest block, kept where the database's
owner cannot reach it, is what makes it evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

GENESIS: Final = bytes(32)
"""What the first block has before it."""

CALL: Final = 8192
"""Places in the number of a call: transfers of call n have numbers from n * 8192 on."""

_SHORT: Final = 16
_PREFIX: Final = b"troth ledger block 1\n"
_encode = msgspec.json.Encoder().encode


class Leaf(msgspec.Struct, frozen=True):
    """One transfer or refusal: its number, and all that it says, as plain values in a fixed order."""

    seq: int
    content: Sequence[Any]

    @property
    def digest(self) -> bytes:
        """Of all that it says: SHA-256 of it as a JSON array."""
        return hashlib.sha256(_encode([self.seq, *self.content])).digest()


@dataclass(frozen=True, slots=True)
class Block:
    """One link of the chain. *digests*: the first 16 bytes of each leaf's, in the order of *seqs*."""

    number: int
    previous: bytes
    hash: bytes
    sealed_at: datetime | None
    batches: tuple[int, ...]
    seqs: tuple[int, ...]
    digests: bytes

    def is_full(self, calls: int, leaves: int) -> bool:
        """Has it as many calls, or at least so many leaves? Then more may wait."""
        return len(self.batches) >= calls or len(self.seqs) >= leaves

    def digest_of(self, place: int) -> bytes:
        """What is kept of the leaf at *place*."""
        return self.digests[place * _SHORT : (place + 1) * _SHORT]


def make(number: int, previous: bytes, batches: Sequence[int], leaves: Iterable[Leaf]) -> Block:
    """The block of these calls and what was in them, *leaves* in the order of their numbers."""
    return _chained(number, previous, batches, [(leaf.seq, leaf.digest) for leaf in leaves])


def _chained(
    number: int, previous: bytes, batches: Sequence[int], found: Sequence[tuple[int, bytes]]
) -> Block:
    seqs = tuple([seq for seq, _ in found])
    head = _encode([number, list(batches), seqs])
    whole = hashlib.sha256(_PREFIX + head + previous + b"".join([digest for _, digest in found]))
    return Block(
        number,
        previous,
        whole.digest(),
        None,
        tuple(batches),
        seqs,
        b"".join([digest[:_SHORT] for _, digest in found]),
    )


def differences(kept: Block, previous: bytes, leaves: Sequence[Leaf]) -> Iterator[str]:
    """What is wrong with a block, against the block before it and what its calls have in them now; a sentence each."""
    named = f"block {kept.number}"
    if kept.previous != previous:
        yield f"{named} does not follow the block before it"
    found = [(leaf.seq, leaf.digest) for leaf in leaves]
    again = _chained(kept.number, kept.previous, kept.batches, found)
    if (again.hash, again.seqs, again.digests) == (kept.hash, kept.seqs, kept.digests):
        return
    now = dict(found)
    told = False
    for place, seq in enumerate(kept.seqs):
        digest = now.pop(seq, None)
        if digest is None:
            told = True
            yield f"{named}: number {seq} is gone"
        elif digest[:_SHORT] != kept.digest_of(place):
            told = True
            yield f"{named}: number {seq} was changed"
    for seq in now:
        told = True
        yield f"{named}: number {seq} was added later"
    if not told:
        yield f"{named} itself was changed: its hash is not that of what it holds"


def complete(
    batches: Sequence[int], leaves: Sequence[Leaf], most: int
) -> tuple[list[int], list[Leaf]]:
    """Of *batches* those whose leaves are all there, with them, if no more than *most* leaves were read."""
    if len(leaves) < most:
        return list(batches), list(leaves)
    cut = leaves[-1].seq // CALL
    return (
        [each for each in batches if each < cut],
        [leaf for leaf in leaves if leaf.seq // CALL < cut],
    )
