"""Databases that go away, rows that vanish, and workers that declare different things."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.harness.cell import open_cell, until
from tests.harness.traffic import Caller
from troth.effect.model import Breaker, Provider, Rate
from troth.effect.traffic import Permit
from troth.store.migrate import migrate

SLOW = Provider("stripe", rate=Rate(10, per=timedelta(seconds=1)))
FAST = Provider("stripe", rate=Rate(100, per=timedelta(seconds=1)))
ALL = Provider(
    "all",
    rate=Rate(100, per=timedelta(seconds=1)),
    breaker=Breaker(failures=3, pause=timedelta(seconds=0.5)),
    concurrency=2,
)

DECLARED = "SELECT rate_limit FROM {}.provider WHERE name = 'stripe'"


async def test_while_the_database_is_away_nobody_may_call_and_nobody_is_forgotten(server, caplog):
    migrate(server.url, "troth")
    async with open_cell(server.url, "troth") as cell:
        caller = Caller(server.url, "troth", await cell.member())
    caller.back(await caller.permitted(ALL))
    await asyncio.to_thread(server.stop)
    asked = [asyncio.create_task(caller.permitted(ALL)) for _ in range(2)]
    gate = caller.traffic._gates["all"]

    async def tried():
        return gate._failures >= 2

    await until(tried, "the database is missed")
    assert not any(task.done() for task in asked)
    assert sum("calls to all wait for the database" in line for line in caplog.messages) == 1

    await asyncio.to_thread(server.start)
    for permit in await asyncio.gather(*asked):
        caller.back(permit)
    await caller.close()


async def test_a_row_that_was_deleted_is_made_again(join, cell):
    caller = await join()
    caller.back(await caller.permitted(SLOW))
    await cell.rows("DELETE FROM {}.provider")

    assert isinstance(await caller.said(SLOW), Permit)
    assert await cell.value(DECLARED) == 10


async def test_the_declaration_of_the_worker_that_joined_last_holds_for_all(join, cell):
    old, new, older = await join(), await join(), await join()
    older.worker, old.worker, new.worker = sorted([older.worker, old.worker, new.worker])
    await old.permitted(SLOW)
    assert await cell.value(DECLARED) == 10
    await new.permitted(FAST)
    assert await cell.value(DECLARED) == 100
    await older.permitted(SLOW)
    assert await cell.value(DECLARED) == 100

    told = [old.ask(SLOW) for _ in range(50)]  # who said ten goes by the hundred, too
    said = await asyncio.gather(*told)
    assert sum(isinstance(one, Permit) for one in said) > 20


async def test_limits_that_a_later_deploy_adds_or_drops(join):
    old, new = await join(), await join()
    plain = Provider("all", concurrency=2)
    old.back(await old.permitted(plain))
    new.back(await new.permitted(ALL))
    for _ in range(5):
        old.back(await old.permitted(plain))
        new.back(await new.permitted(ALL))
    newest = await join()
    newest.back(await newest.permitted(Provider("all", breaker=ALL.breaker)))
    for caller, said in ((old, plain), (new, ALL)):
        for _ in range(5):
            caller.back(await caller.permitted(said))


async def test_two_declarations_in_one_program_are_told_apart_once(join, caplog):
    caller = await join()
    for provider in (SLOW, FAST, SLOW, FAST):
        caller.back(await caller.permitted(provider))

    assert sum("declares the provider stripe" in line for line in caplog.messages) == 1


async def test_all_three_limits_at_once(join):
    callers = [await join() for _ in range(2)]
    under_way = most = 0

    async def call(caller):
        nonlocal under_way, most
        permit = await caller.permitted(ALL)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        caller.back(permit)

    await asyncio.gather(*(call(caller) for caller in callers for _ in range(40)))
    assert 1 <= most <= 2


async def test_a_second_close_and_a_close_without_calls(join):
    caller = await join()
    await caller.traffic.close()
    await caller.traffic.close()
