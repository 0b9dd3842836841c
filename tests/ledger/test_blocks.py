"""Blocks, without a database: what differs shows, and no call is cut in two."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from troth.ledger.blocks import CALL, GENESIS, Leaf, complete, differences, make

contents = st.lists(st.none() | st.text(max_size=5), max_size=4)


@st.composite
def calls(draw) -> tuple[list[int], list[Leaf]]:
    """Some calls, and what is in them."""
    batches = sorted(draw(st.sets(st.integers(1, 30), min_size=1, max_size=6)))
    leaves = [
        Leaf(batch * CALL + place, draw(contents))
        for batch in batches
        for place in range(draw(st.integers(1, 4)))
    ]
    return batches, leaves


@given(calls(), st.data())
def test_a_block_tells_of_every_change(made, data) -> None:
    batches, leaves = made
    block = make(1, GENESIS, batches, leaves)
    assert list(differences(block, GENESIS, leaves)) == []
    place = data.draw(st.integers(0, len(leaves) - 1))
    leaf = leaves[place]
    other = Leaf(leaf.seq, [*leaf.content, "more"])
    changed = [*leaves[:place], other, *leaves[place + 1 :]]
    assert list(differences(block, GENESIS, changed)) == [f"block 1: number {leaf.seq} was changed"]
    gone = [*leaves[:place], *leaves[place + 1 :]]
    assert list(differences(block, GENESIS, gone)) == [f"block 1: number {leaf.seq} is gone"]
    more = [*leaves, Leaf(leaves[-1].seq + 1, [])]
    assert list(differences(block, GENESIS, more)) == [
        f"block 1: number {leaves[-1].seq + 1} was added later"
    ]
    twice = [*leaves[:place], other, *leaves[place:]]  # a second one of the same number, before it
    assert list(differences(block, GENESIS, twice))
    for forged in (
        replace(block, hash=bytes(32)),
        replace(block, number=2),
        replace(block, batches=(*block.batches, 99)),
    ):
        (told,) = differences(forged, GENESIS, leaves)
        assert "itself was changed" in told
    assert "does not follow" in next(differences(block, b"x" * 32, leaves))


def test_contents_cannot_be_mistaken_for_each_other() -> None:
    """Where one text ends and the next begins is part of what is hashed."""
    alike = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", None], ["abc", ""], ['ab","c']]
    assert len({Leaf(1, content).digest for content in alike}) == len(alike)
    assert Leaf(1, []).digest != Leaf(2, []).digest


@given(calls(), st.integers(4, 30))
def test_a_call_is_in_one_block_whole(made, most) -> None:
    """*most* is more than one call has."""
    batches, leaves = made
    kept, inside = complete(batches, leaves[: most + 1], most + 1)
    assert kept == batches[: len(kept)]
    assert kept
    assert inside == [leaf for leaf in leaves if leaf.seq // CALL in set(kept)]


def test_a_full_block_says_so() -> None:
    block = make(1, GENESIS, [1, 2], [Leaf(CALL, []), Leaf(CALL + 1, []), Leaf(2 * CALL, [])])
    assert block.is_full(calls=2, leaves=9)
    assert block.is_full(calls=9, leaves=3)
    assert not block.is_full(calls=3, leaves=4)
