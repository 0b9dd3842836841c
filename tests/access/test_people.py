"""People and their sessions: what is kept of secrets, and what ends a session."""

from __future__ import annotations

import psycopg
import pytest

from tests.access.conftest import CHEAP, make
from troth.access import (
    EmailTakenError,
    NotAuthenticatedError,
    PasswordRefusedError,
    Passwords,
    Ref,
)
from troth.base.errors import UsageError

PASSWORD = "correct horse"
ADA = "ada@example.com"


@pytest.fixture
async def ada(access, begin):
    async with begin() as tx:
        return await access.people.add(
            tx, ADA, PASSWORD, tenant="acme", groups=["staff"], attributes={"level": 3, "of": Ref("Tenant", "x")}
        )  # fmt: skip


async def logged_in(access, begin, **options):
    return await access.log_in(begin, ADA, PASSWORD, client="::1", **options)


async def who(access, begin, token):
    async with begin() as tx:
        return await access.authenticate(tx, session_token=token)


async def gone(access, begin, token):
    try:
        await who(access, begin, token)
    except NotAuthenticatedError:
        return True
    return False


async def test_a_session_says_who_it_is(access, begin, ada):
    session = await logged_in(access, begin)
    principal = await who(access, begin, session.token)
    assert principal == session.principal
    assert (principal.id, principal.tenant, principal.groups) == (ada.id, "acme", ("staff",))
    assert principal.attributes == {
        "level": 3,
        "of": {"__entity": {"type": "App::Tenant", "id": "x"}},
    }


async def test_of_secrets_only_hashes_are_kept(access, begin, ada, sql):
    session = await logged_in(access, begin)
    assert PASSWORD not in repr(session)
    assert session.token not in repr(session)
    ((phc,),) = sql("SELECT password FROM {}.person")
    assert phc.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    dumped = repr(
        [
            sql(f"SELECT t::text FROM {{}}.{table} t")
            for table in ("person", "session", "login_throttle")
        ]
    )
    assert session.token not in dumped
    assert PASSWORD not in dumped
    ((kept,),) = sql("SELECT token FROM {}.session")
    assert len(kept) == 32


async def test_an_address_belongs_to_one_person(access, begin, ada):
    with pytest.raises(EmailTakenError):
        async with begin() as tx:
            await access.people.add(tx, " ADA@example.com", PASSWORD)


async def test_passwords_that_are_refused(access, begin):
    for password, why in [("short", "too short"), ("x" * 1025, "too long")]:
        with pytest.raises(PasswordRefusedError, match=why):
            await access.people.passwords.hash(password)


async def test_the_defaults_are_rfc_9106s_second_option():
    phc = (await Passwords().hash(PASSWORD)).phc
    assert phc.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_a_password_is_hashed_anew_when_the_parameters_have_changed(
    migrated, access, begin, ada, sql
):
    stronger = make(migrated[1], passwords=Passwords(memory_kib=128, passes=1, lanes=1))
    await logged_in(stronger, begin)
    ((phc,),) = sql("SELECT password FROM {}.person")
    assert "m=128," in phc
    await logged_in(stronger, begin)
    assert sql("SELECT password FROM {}.person") == [(phc,)]


# What ends a session --------------------------------------------------------------------------------------------------


async def test_logging_in_always_makes_a_new_token_and_ends_the_old_one(access, begin, ada):
    first = await logged_in(access, begin)
    second = await logged_in(access, begin, replaces=first.token)
    assert second.token != first.token
    assert await gone(access, begin, first.token)
    assert not await gone(access, begin, second.token)


async def test_a_token_that_was_planted_is_worth_nothing_after_the_log_in(access, begin, ada):
    planted = "chosen-by-a-stranger"
    session = await logged_in(access, begin, replaces=planted)
    assert session.token != planted
    assert await gone(access, begin, planted)


async def test_a_renewed_token_takes_the_place_of_the_old_one(access, begin, ada, sql):
    session = await logged_in(access, begin)
    before = sql("SELECT id, expires_at FROM {}.session")
    async with begin() as tx:
        token = await access.sessions.renew(tx, session.token)
    assert await gone(access, begin, session.token)
    assert (await who(access, begin, token)).id == ada.id
    assert sql("SELECT id, expires_at FROM {}.session") == before
    with pytest.raises(NotAuthenticatedError):
        async with begin() as tx:
            await access.sessions.renew(tx, session.token)


@pytest.mark.parametrize(
    "moved",
    ["expires_at = clock_timestamp()", "seen_at = clock_timestamp() - interval '12 hours'"],
)
async def test_a_session_ends_by_the_databases_clock(access, begin, ada, sql, moved):
    session = await logged_in(access, begin)
    sql(f"UPDATE {{}}.session SET {moved}")
    assert await gone(access, begin, session.token)
    with pytest.raises(NotAuthenticatedError):
        async with begin() as tx:
            await access.sessions.renew(tx, session.token)


@pytest.mark.parametrize(
    "change", ["disable", "password", "groups", "end_all", "end", "end_by_id", "remove"]
)
async def test_what_ends_sessions(access, begin, ada, change):
    session = await logged_in(access, begin)
    async with begin() as tx:
        match change:
            case "disable":
                await access.people.disable(tx, ada.id)
            case "remove":
                await access.people.remove(tx, ada.id)
            case "password":
                await access.people.change(tx, ada.id, password="another password")
            case "groups":
                await access.people.change(tx, ada.id, groups=["admins"])
            case "end_all":
                assert await access.sessions.end_all(tx, ada.id) == 1
            case "end":
                assert await access.sessions.end(tx, session.token)
            case "end_by_id":
                assert await access.sessions.end(tx, session.principal.session)
    assert await gone(access, begin, session.token)


async def test_a_session_that_outlived_its_person_is_nobodys(access, begin, ada, sql):
    """Disabling ends sessions. Should one be left, as after a restore or an update by hand, it is no use."""
    session = await logged_in(access, begin)
    sql("UPDATE {}.person SET disabled_at = clock_timestamp()")
    assert sql("SELECT count(*) FROM {}.session") == [(1,)]
    assert await gone(access, begin, session.token)


async def test_somebody_recognised_otherwise_gets_a_session_unless_disabled(access, begin, ada):
    async with begin() as tx:
        session = await access.sessions.start(tx, ada.id, client="mail")
    assert (await who(access, begin, session.token)) == session.principal
    async with begin() as tx:
        await access.people.disable(tx, ada.id)
    with pytest.raises(NotAuthenticatedError):
        async with begin() as tx:
            await access.sessions.start(tx, ada.id)
    async with begin() as tx:
        await access.people.enable(tx, ada.id)
    assert await gone(access, begin, session.token)
    await logged_in(access, begin)


async def test_nobody_is_found_for_a_strange_token(access, begin):
    for token in ["", "x", "\0", "\ud800", "ü" * 10_000]:
        assert await gone(access, begin, token)
    async with begin() as tx:
        with pytest.raises(UsageError, match="session_token or an api_key"):
            await access.authenticate(tx)


# Being seen -----------------------------------------------------------------------------------------------------------


async def test_a_session_is_written_at_most_once_a_minute(access, begin, ada, sql):
    session = await logged_in(access, begin)
    before = sql("SELECT xmin::text, seen_at FROM {}.session")
    await who(access, begin, session.token)
    assert sql("SELECT xmin::text, seen_at FROM {}.session") == before
    sql("UPDATE {}.session SET seen_at = seen_at - interval '61 seconds'")
    await who(access, begin, session.token)
    ((fresh,),) = sql("SELECT seen_at > clock_timestamp() - interval '30 seconds' FROM {}.session")
    assert fresh


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
async def test_two_requests_of_a_session_do_not_wait_for_each_other(access, begin, ada, sql, level):
    session = await logged_in(access, begin)
    sql("UPDATE {}.session SET seen_at = seen_at - interval '61 seconds'")
    async with begin() as one, begin() as two:
        for tx in (one, two):
            await tx.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            await tx.execute("SET LOCAL lock_timeout = '1s'")
            await tx.execute("SELECT 1 FROM pg_class LIMIT 1")  # the snapshot
        await access.authenticate(one, session_token=session.token)
        await access.authenticate(two, session_token=session.token)


async def test_a_write_meanwhile_does_not_fail_a_request_with_an_older_snapshot(
    access, begin, ada, sql
):
    session = await logged_in(access, begin)
    sql("UPDATE {}.session SET seen_at = seen_at - interval '61 seconds'")
    async with begin() as tx:
        await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await tx.execute("SELECT 1 FROM pg_class LIMIT 1")
        await who(access, begin, session.token)  # commits the minute
        assert (await access.authenticate(tx, session_token=session.token)).id == ada.id


async def test_a_request_that_may_only_read_is_authenticated(access, begin, ada, sql):
    session = await logged_in(access, begin)
    sql("UPDATE {}.session SET seen_at = seen_at - interval '61 seconds'")
    async with begin() as tx:
        await tx.execute("SET TRANSACTION READ ONLY")
        assert (await access.authenticate(tx, session_token=session.token)).id == ada.id


# Threads --------------------------------------------------------------------------------------------------------------


def test_all_of_it_from_a_thread(access, begin_blocking):
    with begin_blocking() as tx:
        person = access.people.add_blocking(tx, ADA, PASSWORD)
        assert access.people.find_blocking(tx, ADA).id == person.id
    session = access.log_in_blocking(begin_blocking, ADA, PASSWORD, client="c")
    with begin_blocking() as tx:
        assert access.authenticate_blocking(tx, session_token=session.token).id == person.id
        token = access.sessions.renew_blocking(tx, session.token)
        assert access.sessions.end_blocking(tx, token)
        access.sessions.start_blocking(tx, person.id)
        assert access.sessions.end_all_blocking(tx, person.id) == 1
        access.people.change_blocking(
            tx, person.id, password="another password", attributes={"level": 1}
        )
        access.people.disable_blocking(tx, person.id)
        access.people.enable_blocking(tx, person.id)
    access.log_in_blocking(begin_blocking, ADA, "another password", client="c")


async def test_an_access_that_was_not_included_says_so(migrated):
    from troth.access import Access

    async with await psycopg.AsyncConnection.connect(migrated[0]) as tx:
        with pytest.raises(UsageError, match=r"troth\.include"):
            await Access(passwords=CHEAP).people.add(tx, ADA, PASSWORD)


async def test_whoever_is_removed_is_unknown_and_may_come_again(access, begin, ada):
    async with begin() as tx:
        await access.people.remove(tx, ada.id)
    async with begin() as tx:
        with pytest.raises(UsageError, match="there is no person"):
            await access.people.remove(tx, ada.id)
    async with begin() as tx:
        assert await access.people.find(tx, ADA) is None
        again = await access.people.add(tx, ADA, PASSWORD)
    assert again.id != ada.id
