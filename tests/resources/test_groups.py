"""Groups of definitions: one program of many modules."""

from collections.abc import Iterator

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import Call, Queue, RunFailedError, Troth, UsageError
from troth.testing import call_step
from troth.workflow.groups import Group


class Client:
    def __init__(self, name: str) -> None:
        self.name = name


class Sorry(Exception):
    pass


async def test_what_a_group_has_and_will_have_is_part_of_the_program(troth: Troth) -> None:
    billing = Group("billing")
    assert troth.include(billing) is billing
    assert troth.include(billing) is billing

    @billing.resource
    def client() -> Iterator[Client]:
        yield Client("real")

    @billing.effect(delivery="at_most_once", timeout=5)
    async def charge(call: Call, amount: int) -> str:
        return f"{amount} by {call.get(Client).name}"

    @billing.workflow
    async def bill(amount: int) -> str:
        return await charge(amount)

    @troth.workflow
    async def shop(amount: int) -> str:
        return await charge(amount)

    async with troth.worker(QUICK):
        assert await soon((await troth.start(bill, 5)).result()) == "5 by real"
        with troth.replaced(Client, Client("fake")):
            assert await soon((await troth.start(shop, 6)).result()) == "6 by fake"


async def test_names_are_prefixed_only_if_asked(troth: Troth, place: Place) -> None:
    billing = Group("billing", prefix=True)

    @billing.step
    def look() -> str:
        return "billing"

    @billing.workflow
    async def bill() -> str:
        return await look()

    @troth.step(name="look")
    def look_elsewhere() -> str:
        return "elsewhere"

    troth.include(billing)
    assert set(troth.steps) == {"look", "billing.look"}
    async with troth.worker(QUICK):
        run = await troth.start(bill)
        assert await soon(run.result()) == "billing"
    assert place.results(run.id) == ["billing.look"]
    assert await call_step(look) == "billing"


def test_two_of_a_name_are_refused_and_nothing_is_added(troth: Troth) -> None:
    billing = Group("billing")

    @billing.step
    def first() -> None: ...

    @billing.step
    def look() -> None: ...

    @troth.step(name="look")
    def other() -> None: ...

    with pytest.raises(UsageError, match=r"step look.*prefix=True"):
        troth.include(billing)
    assert set(troth.steps) == {"look"}
    troth.include(Group("shop"))
    with pytest.raises(UsageError, match="two of Group named"):
        troth.include(Group("shop"))


async def test_a_step_of_a_group_that_is_not_included_says_so(troth: Troth, place: Place) -> None:
    billing = Group("billing")

    @billing.step
    def look() -> None: ...

    @troth.workflow
    async def shop() -> None:
        await look()

    async with troth.worker(QUICK):
        _, detail = await place.attention(await troth.start(shop))
    assert "group billing is not included in the program of shop" in detail["message"]


async def test_its_refusals_and_queues_are_the_programs(troth: Troth) -> None:
    billing = Group("billing")
    queue = Queue("bills", concurrency=1)

    @billing.step(fails_on=Sorry)
    def look() -> None:
        raise Sorry

    @billing.workflow(queue=queue, fails_on=Sorry)
    async def bill() -> None:
        await look()

    troth.include(billing)
    assert troth.queues["bills"] == queue
    async with troth.worker(QUICK):
        with pytest.raises(RunFailedError) as failed:
            await soon((await troth.start(bill)).result())
    assert isinstance(failed.value.__cause__, Sorry)
