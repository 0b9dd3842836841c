"""API keys: what is kept, what makes them invalid, and rotation without a gap."""

from __future__ import annotations

from datetime import timedelta

import pytest

from troth.access import NotAuthenticatedError, rules
from troth.base.errors import UsageError


@pytest.fixture
async def key(access, begin):
    async with begin() as tx:
        return await access.keys.create(
            tx, "nightly export", scopes=["Account::read", "Plan::*"], tenant="acme"
        )


async def who(access, begin, key):
    async with begin() as tx:
        return await access.authenticate(tx, api_key=key)


async def refused(access, begin, key):
    try:
        await who(access, begin, key)
    except NotAuthenticatedError:
        return True
    return False


async def test_a_key_says_which_machine_it_is(access, begin, key):
    machine = await who(access, begin, key.key)
    assert (machine.type, machine.id, machine.tenant) == ("Machine", str(key.machine), "acme")
    assert machine.scopes == ("Account::read", "Plan::*")
    assert key.key.startswith(f"troth_{key.prefix}_")


async def test_only_the_hash_is_kept(access, begin, key, sql):
    secret = key.key.rpartition("_")[2]
    assert secret not in repr(key)
    assert secret not in repr(sql("SELECT k::text FROM {}.api_key k"))
    assert sql("SELECT secret FROM {}.api_key") == [(rules.hashed(secret),)]


async def test_what_is_no_key(access, begin, key):
    prefix = key.prefix
    other = "a" * 52
    for text in ["", "x", "troth_", f"troth_{prefix}_", f"troth_{prefix}_{other}", f"troth_{other[:12]}_{other}",
                 f"nottroth_{prefix}_{key.key.rpartition('_')[2]}", key.key + "a", key.key.upper(), "troth_\0" + "a" * 11 + "_b"]:  # fmt: skip
        assert await refused(access, begin, text), text


async def test_secrets_are_compared_in_constant_time(access, begin, key, monkeypatch):
    compared = []
    real = rules.same
    monkeypatch.setattr(rules, "same", lambda *a: compared.append(a) or real(*a))
    await who(access, begin, key.key)
    await refused(access, begin, f"troth_{key.prefix}_wrong")
    await refused(access, begin, "troth_" + "a" * 12 + "_wrong")
    assert [len(one) == len(other) == 32 for one, other in compared] == [True] * 3


@pytest.mark.parametrize(
    "ends", ["expires_at = clock_timestamp()", "revoked_at = clock_timestamp()"]
)
async def test_a_key_ends_by_the_databases_clock(access, begin, key, sql, ends):
    sql(f"UPDATE {{}}.api_key SET {ends}")
    assert await refused(access, begin, key.key)
    with pytest.raises(UsageError, match="no valid key"):
        async with begin() as tx:
            await access.keys.rotate(tx, key.prefix)


async def test_a_revoked_key_is_not_valid(access, begin, key):
    async with begin() as tx:
        await access.keys.revoke(tx, key.prefix)
    assert await refused(access, begin, key.key)


async def test_rotation_overlaps(access, begin, key, sql):
    async with begin() as tx:
        second = await access.keys.rotate(
            tx, key.prefix, overlap=timedelta(hours=1), lifetime=timedelta(days=30)
        )
    assert second.machine == key.machine
    assert await who(access, begin, key.key) == await who(access, begin, second.key)
    sql(
        "UPDATE {}.api_key SET expires_at = expires_at - interval '61 minutes' WHERE prefix = %s",
        key.prefix,
    )
    assert await refused(access, begin, key.key)
    assert not await refused(access, begin, second.key)


async def test_rotation_does_not_lengthen_the_life_of_the_old_key(access, begin, key, sql):
    sql("UPDATE {}.api_key SET expires_at = clock_timestamp() + interval '1 minute'")
    async with begin() as tx:
        await access.keys.rotate(tx, key.prefix, overlap=timedelta(days=1))
    ((left,),) = sql(
        "SELECT expires_at < clock_timestamp() + interval '2 minutes' FROM {}.api_key WHERE prefix = %s",
        key.prefix,
    )
    assert left


async def test_a_key_is_not_valid_while_its_owner_is_disabled(access, begin):
    async with begin() as tx:
        owner = await access.people.add(tx, "ada@example.com", None)
        key = await access.keys.create(tx, "hers", scopes=["*"], owner=owner.id)
    assert (await who(access, begin, key.key)).owner == owner.id
    async with begin() as tx:
        await access.people.disable(tx, owner.id)
    assert await refused(access, begin, key.key)


async def test_use_is_written_at_most_once_a_minute_and_only_by_who_has_the_secret(
    access, begin, key, sql
):
    await refused(access, begin, f"troth_{key.prefix}_wrong")
    assert sql("SELECT used_at FROM {}.api_key") == [(None,)]
    await who(access, begin, key.key)
    first = sql("SELECT xmin::text, used_at FROM {}.api_key")
    assert first[0][1] is not None
    await who(access, begin, key.key)
    assert sql("SELECT xmin::text, used_at FROM {}.api_key") == first


def test_keys_from_a_thread(access, begin_blocking):
    with begin_blocking() as tx:
        key = access.keys.create_blocking(tx, "m", scopes=["*"], lifetime=timedelta(days=1))
        second = access.keys.rotate_blocking(tx, key.prefix)
        assert access.authenticate_blocking(tx, api_key=second.key).id == str(key.machine)
        access.keys.revoke_blocking(tx, second.prefix)
        with pytest.raises(NotAuthenticatedError):
            access.authenticate_blocking(tx, api_key=second.key)
