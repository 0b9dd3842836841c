"""Decisions are rows: of a yes with the act, of a no although the act is rolled back."""

from __future__ import annotations

import asyncio
import logging

import psycopg
import pytest

from tests.access.conftest import POLICIES, make
from troth.access import Denied, Principal, Ref, Resource, store
from troth.base import codec
from troth.store.plan import carry_out_blocking

ADA = Principal("Person", "ada", tenant="acme")
BOB = Principal("Person", "bob", tenant="other")
ACCOUNT = Resource("Account", "a1", {"tenant": Ref("Tenant", "acme"), "frozen": False})


def kept(sql):
    return sql(
        "SELECT principal_id, action, resource_id, because, policies FROM {}.decision ORDER BY id"
    )


async def test_a_yes_commits_with_the_act_or_not_at_all(access, begin, sql):
    async with begin() as tx:
        decision = await access.require(tx, ADA, "Account::read", ACCOUNT)
        assert kept(sql) == []
    assert kept(sql) == [("ada", "Account::read", "a1", "permit", ["tenant-reads"])]
    async with begin() as tx:
        await access.require(tx, ADA, "Account::read", ACCOUNT)
        raise psycopg.Rollback
    assert len(kept(sql)) == 1
    ((inputs, digest),) = sql("SELECT inputs, digest FROM {}.decision")
    assert inputs == codec.decode(decision.inputs)
    assert digest == decision.digest


async def test_a_no_is_recorded_although_the_act_is_rolled_back(
    migrated, access, begin, sql, caplog
):
    sql("CREATE TABLE IF NOT EXISTS {}.acts (n integer)")

    async def act():
        async with access.recording_denials(begin), begin() as tx:
            await tx.execute(f"INSERT INTO {migrated[1]}.acts VALUES (1)")
            await access.require(tx, BOB, "Account::read", ACCOUNT)

    with caplog.at_level(logging.INFO, "troth.access"), pytest.raises(Denied) as raised:
        await act()
    assert kept(sql) == [("bob", "Account::read", "a1", "default", [])]
    assert sql("SELECT count(*) FROM {}.acts") == [(0,)]
    assert f"troth access why {raised.value.decision.id}" in str(raised.value)
    assert "bob may not Account::read" in caplog.text


async def test_decide_records_either_answer_and_does_not_raise(access, begin, sql):
    async with begin() as tx:
        assert not await access_decides(access, tx, BOB)
        assert await access_decides(access, tx, ADA)
    assert [row[3] for row in kept(sql)] == ["default", "permit"]


async def access_decides(access, tx, principal):
    return (await access.decide(tx, principal, "Account::read", ACCOUNT)).allowed


async def test_a_decision_is_recorded_once(access, begin, sql):
    decision = access.evaluate(ADA, "Account::read", ACCOUNT)
    assert kept(sql) == []
    for _ in range(2):
        async with begin() as tx:
            await access.record(tx, decision)
    assert len(kept(sql)) == 1


async def test_the_yes_costs_one_statement(access, begin):
    async with begin() as tx:
        await access.require(tx, ADA, "Account::read", ACCOUNT)  # the first one keeps the policies
        counted = Counting(tx)
        await access.require(counted, ADA, "Account::read", ACCOUNT)
        assert counted.statements == 1


class Counting:
    def __init__(self, tx):
        self._tx, self.statements = tx, 0

    async def execute(self, query, params=None):
        self.statements += 1
        return await self._tx.execute(query, params)


async def test_policies_are_kept_as_they_were(migrated, access, begin, sql):
    newer = make(
        migrated[1], policies=POLICIES + '@id("all") permit (principal, action, resource);'
    )
    for each in (access, newer, access):
        async with begin() as tx:
            await each.decide(tx, BOB, "Account::read", ACCOUNT)
    assert [row[3:] for row in kept(sql)] == [("default", []), ("permit", ["all"]), ("default", [])]
    assert sql("SELECT count(*) FROM {}.policy_set") == [(2,)]


async def test_strangers_text_can_be_recorded(access, begin, sql):
    resource = Resource("Account", "a\0b", {**ACCOUNT.attributes, "iban": "\\u0000\0\\"})
    async with begin() as tx:
        decision = await access.decide(tx, BOB, "Account::read", resource)
    ((resource_id, inputs),) = sql("SELECT resource_id, inputs FROM {}.decision")
    assert resource_id == "a\ufffdb"
    (account,) = [each for each in inputs["entities"] if "iban" in each["attrs"]]
    assert account["attrs"]["iban"] == "\\u0000\ufffd\\"
    assert codec.decode(decision.inputs) == inputs


@pytest.mark.parametrize(
    "query", ["UPDATE {}.decision SET because = 'permit'", "DELETE FROM {}.decision"]
)
async def test_what_was_decided_is_not_rewritten(access, begin, sql, query):
    async with begin() as tx:
        await access.decide(tx, BOB, "Account::read", ACCOUNT)
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        sql(query)


async def test_decisions_and_ended_things_are_forgotten_in_time(access, begin, begin_blocking, sql):
    async with begin() as tx:
        await access.decide(tx, BOB, "Account::read", ACCOUNT)
        person = await access.people.add(tx, "ada@example.com", "correct horse")
        await access.sessions.start(tx, person.id)
    await access.log_in(begin, "ada@example.com", "correct horse", client="c")

    def forget(keep_s):
        with begin_blocking() as tx:
            return carry_out_blocking(tx, store.forget(access.q, keep_s))

    assert forget(3600.0) == 0
    sql("UPDATE {}.session SET expires_at = clock_timestamp() WHERE client IS NULL")
    sql("UPDATE {}.login_throttle SET at = at - interval '31 days'")
    sql("UPDATE {}.known_client SET last_at = last_at - interval '181 days'")
    assert forget(None) == 3
    assert len(kept(sql)) == 1
    assert forget(0.0) == 1
    assert kept(sql) == []
    assert sql("SELECT count(*) FROM {}.session") == [(1,)]


def test_from_a_thread(access, begin_blocking, sql):
    with begin_blocking() as tx:
        assert access.require_blocking(tx, ADA, "Account::read", ACCOUNT).allowed
        assert not access.decide_blocking(tx, BOB, "Account::read", ACCOUNT).allowed
    with (
        pytest.raises(Denied),
        access.recording_denials_blocking(begin_blocking),
        begin_blocking() as tx,
    ):
        access.require_blocking(tx, BOB, "Account::close", ACCOUNT)
    assert [row[3] for row in kept(sql)] == ["permit", "default", "default"]


async def test_workers_clean_up(migrated, access, begin, sql):
    async with begin() as tx:
        person = await access.people.add(tx, "ada@example.com", None)
        await access.sessions.start(tx, person.id)
    sql("UPDATE {}.session SET expires_at = clock_timestamp()")
    waits = []

    class Place:
        """One connection, and an alarm at which the test has seen enough."""

        connections = alarm = None

        @staticmethod
        def connection():
            return begin()

        @staticmethod
        async def wait(seconds):
            waits.append(seconds)
            raise asyncio.CancelledError

    place = Place()
    place.connections = place.alarm = place
    (relay,) = access.relays
    with pytest.raises(asyncio.CancelledError):
        await relay.work(place)
    assert sql("SELECT count(*) FROM {}.session") == [(0,)]
    assert waits == [900.0]
