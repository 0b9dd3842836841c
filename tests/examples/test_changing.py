"""examples/changing: new runs of both versions, and one of before the patch that was recorded in production."""

from __future__ import annotations

from pathlib import Path

from examples.changing.shop import checkout, checkout_2, troth
from troth.testing import Worker, recordings, replay

RECORDED = Path(__file__).with_name("changing.jsonl")  # by `troth run export`


async def test_new_runs_take_the_new_branch(database_url: str) -> None:
    async with Worker(troth, database_url=database_url) as world:
        patched = await world.start(checkout, "o2")
        newest = await world.start(checkout_2, "o3", True)
        await world.send(patched, "packed", "box")
        assert (await patched.result(timeout=5))[::2] == ["o2 is reserved", "box"]
        assert (await newest.result(timeout=5))[0] == "o3 is reserved"


def test_a_run_that_has_charged_already_goes_on_as_it_began() -> None:
    replay(troth, *recordings(RECORDED))
