"""Log-ins that fail: counted before anybody knows, the same for everybody, and no weapon against the owner."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.access.conftest import make
from troth.access import (
    Limit,
    LoggedIn,
    Throttle,
    TooManyAttemptsError,
    WrongCredentialsError,
    rules,
)

PASSWORD = "correct horse"
ADA, NOBODY = "ada@example.com", "nobody@example.com"


SLOW = Throttle(*(Limit(free, first=timedelta(minutes=1)) for free in (5, 20, 50)))


@pytest.fixture
def access(migrated):
    """Its pauses are longer than a busy machine needs for a test."""
    return make(migrated[1], throttle=SLOW)


@pytest.fixture
async def ada(access, begin):
    async with begin() as tx:
        return await access.people.add(tx, ADA, PASSWORD)


async def attempt(access, begin, password="wrong", *, email=ADA, client="c1"):
    """What came of it: the error's class, or LoggedIn."""
    try:
        return type(await access.log_in(begin, email, password, client=client))
    except (WrongCredentialsError, TooManyAttemptsError) as error:
        return type(error)


def failures(sql, email=ADA, client="c1"):
    """How many stand against the address, the client, and both."""
    rows = dict(sql("SELECT key, failures FROM {}.login_throttle"))
    return [round(rows.get(key, 0)) for key in rules.throttle_keys(email, client)]


async def test_five_guesses_then_a_pause_then_one_each(access, begin, ada, sql):
    made = [await attempt(access, begin) for _ in range(6)]
    assert made == [WrongCredentialsError] * 5 + [TooManyAttemptsError]
    assert failures(sql) == [
        5,
        5,
        5,
    ]  # what was not tried is not counted: impatience does not lengthen the pause
    with pytest.raises(TooManyAttemptsError, match=r"try again in (60|5.) s") as raised:
        await access.log_in(begin, ADA, PASSWORD, client="c1")
    assert 0 < raised.value.retry_after_s <= 60
    let_pass(sql)
    assert await attempt(access, begin) is WrongCredentialsError
    assert await attempt(access, begin) is TooManyAttemptsError


def let_pass(sql):
    sql("UPDATE {}.login_throttle SET blocked_until = clock_timestamp()")


async def test_pauses_are_those_of_the_rule(migrated, begin, sql):
    limit = Limit(2, first=timedelta(seconds=3), cap=timedelta(seconds=40))
    access = make(migrated[1], throttle=Throttle(pair=limit))
    key = rules.throttle_keys(ADA, "c1")[2]
    for n in range(1, 8):
        assert await attempt(access, begin) is WrongCredentialsError
        rows = sql(
            "SELECT extract(epoch FROM blocked_until)::float8 - extract(epoch FROM at)::float8 FROM {}.login_throttle WHERE key = %s",
            key,
        )
        assert max(0, rows[0][0]) == pytest.approx(rules.pause_s(limit, n))
        let_pass(sql)


async def test_failures_leak_away(access, begin, ada, sql):
    for _ in range(4):
        await attempt(access, begin)
    sql("UPDATE {}.login_throttle SET at = at - interval '30 minutes'")
    await attempt(access, begin)
    assert failures(sql)[2] == 3


# Races ----------------------------------------------------------------------------------------------------------------


async def test_a_hundred_guesses_at_once_count_as_a_hundred(migrated, begin, ada, sql):
    many = Limit(1000)
    access = make(migrated[1], throttle=Throttle(many, many, many))
    made = await in_parallel(access, begin, 100)
    assert made == [WrongCredentialsError] * 100
    assert failures(sql) == [100, 100, 100]


async def test_no_guess_slips_through_beside_others(access, begin, ada, sql):
    made = await in_parallel(access, begin, 100)
    assert made.count(WrongCredentialsError) == 5
    assert made.count(TooManyAttemptsError) == 95


async def in_parallel(access, begin, count):
    room = asyncio.Semaphore(20)  # the server has not more connections to give

    async def one():
        async with room:
            return await attempt(access, begin)

    return await asyncio.gather(*(one() for _ in range(count)))


async def test_a_guess_is_counted_even_if_the_process_dies_over_it(
    access, begin, ada, sql, monkeypatch
):
    async def dies(*_):
        raise asyncio.CancelledError

    monkeypatch.setattr(type(access.people.passwords), "verify", dies)
    with pytest.raises(asyncio.CancelledError):
        await access.log_in(begin, ADA, "wrong", client="c1")
    assert failures(sql) == [1, 1, 1]


async def test_no_connection_is_held_while_a_password_is_verified(
    access, begin, ada, sql, monkeypatch
):
    seen = []
    real = type(access.people.passwords).verify

    async def looks(*args):
        seen.append(
            sql(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
            )
        )
        return await real(*args)

    monkeypatch.setattr(type(access.people.passwords), "verify", looks)
    await access.log_in(begin, ADA, PASSWORD, client="c1")
    assert seen == [[(0,)]]


@pytest.mark.parametrize("change", ["disable", "another password"])
async def test_a_person_who_was_changed_meanwhile_gets_no_session(
    access, begin, ada, sql, monkeypatch, change
):
    real = type(access.people.passwords).verify

    async def slow(*args):
        fits = await real(*args)
        async with begin() as tx:
            if change == "disable":
                await access.people.disable(tx, ada.id)
            else:
                await access.people.change(tx, ada.id, password=change)
        return fits

    monkeypatch.setattr(type(access.people.passwords), "verify", slow)
    with pytest.raises(WrongCredentialsError):
        await access.log_in(begin, ADA, PASSWORD, client="c1")
    assert sql("SELECT count(*) FROM {}.session") == [(0,)]


# Nobody learns who is here --------------------------------------------------------------------------------------------


async def test_unknown_disabled_and_wrong_are_told_the_same(access, begin, ada):
    async with begin() as tx:
        gone = await access.people.add(tx, "gone@example.com", PASSWORD)
        await access.people.add(tx, "sso@example.com", None)
        await access.people.disable(tx, gone.id)
    told = set()
    for email, password in [(ADA, "wrong"), (NOBODY, PASSWORD), ("gone@example.com", PASSWORD),
                            ("sso@example.com", PASSWORD), ("no address", PASSWORD), ("a\0@b", "\ud800"),
                            (ADA, PASSWORD + "x" * 2000)]:  # fmt: skip
        with pytest.raises(WrongCredentialsError) as raised:
            await access.log_in(begin, email, password, client=email)
        told.add(str(raised.value))
    assert len(told) == 1


async def test_an_unknown_address_costs_one_hash_like_a_known_one(access, begin, ada, monkeypatch):
    hasher = access.people.passwords._hasher
    verified = []
    real = type(hasher).verify
    monkeypatch.setattr(
        type(hasher), "verify", lambda self, *a: verified.append(a[0][:20]) or real(self, *a)
    )
    for email in (ADA, NOBODY):
        assert await attempt(access, begin, email=email) is WrongCredentialsError
    assert len(verified) == 2
    assert verified[0] == verified[1] == "$argon2id$v=19$m=64,"


async def test_unknown_addresses_are_throttled_like_known_ones(access, begin, ada):
    for email in (ADA, NOBODY):
        made = [await attempt(access, begin, email=email, client=email) for _ in range(6)]
        assert made == [WrongCredentialsError] * 5 + [TooManyAttemptsError]


# Nobody is locked out by a stranger -----------------------------------------------------------------------------------


async def test_guesses_from_elsewhere_do_not_lock_the_owner_out(migrated, begin, ada, sql):
    access = make(migrated[1], throttle=replace(SLOW, address=Limit(3, first=timedelta(minutes=1))))
    assert await attempt(access, begin, PASSWORD, client="home") is LoggedIn
    for n in range(3):
        assert await attempt(access, begin, client=f"bot{n}") is WrongCredentialsError
    assert await attempt(access, begin, client="bot9") is TooManyAttemptsError
    assert await attempt(access, begin, PASSWORD, client="cafe") is TooManyAttemptsError
    assert await attempt(access, begin, PASSWORD, client="home") is LoggedIn


async def test_a_client_that_tries_many_addresses_is_slowed_down(migrated, begin, ada, sql):
    access = make(migrated[1], throttle=replace(SLOW, client=Limit(4, first=timedelta(minutes=1))))
    made = [await attempt(access, begin, email=f"a{n}@example.com") for n in range(5)]
    assert made == [WrongCredentialsError] * 4 + [TooManyAttemptsError]
    assert await attempt(access, begin, PASSWORD, client="c2") is LoggedIn


async def test_success_resets_the_addresss_count_and_not_the_clients(access, begin, ada, sql):
    for _ in range(3):
        await attempt(access, begin)
    await attempt(access, begin, email=NOBODY)
    assert failures(sql) == [3, 4, 3]
    assert await attempt(access, begin, PASSWORD) is LoggedIn
    assert failures(sql) == [0, 4, 0]


async def test_a_client_that_succeeds_is_not_slowed_down(migrated, begin, ada):
    access = make(migrated[1], throttle=Throttle(Limit(2), Limit(2), Limit(2)))
    assert [await attempt(access, begin, PASSWORD) for _ in range(8)] == [LoggedIn] * 8


async def test_a_new_password_forgets_the_clients_that_are_known(access, begin, ada, sql):
    await attempt(access, begin, PASSWORD)
    async with begin() as tx:
        await access.people.change(tx, ada.id, password="another password")
    assert sql("SELECT count(*) FROM {}.known_client") == [(0,)]
