"""The same key is the same run, and nobody's open transaction stalls anybody else's flush."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import IsolationLevel

from tests.harness.cell import Cell, batch, end, send, start, until
from tests.harness.postgres import create_database
from troth import Troth
from troth.base import ids
from troth.base.errors import ForeignTransactionError, KeyConflictError
from troth.journal import store
from troth.journal.model import Started
from troth.store.connect import AsyncConnection
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.migrate import migrate


async def start_in(cell: Cell, tx: AsyncConnection, key: str, payload: bytes = b"{}") -> Started:
    made = start(key=key, payload=payload)
    return await store.start_run(
        tx, cell.q, made.id, made.workflow, key, made.input, made.digest, made.starts_at
    )


async def impatient(cell: Cell) -> AsyncConnection:
    """A session in which waiting for any lock is an error."""
    session = await cell.session()
    await session.execute("SET lock_timeout = '200ms'")
    return session


# Flushes against open transactions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("commits", [True, False])
async def test_a_users_open_start_delays_only_its_own_key(cell, commits):
    """Finding 9: one user's open `start(tx=)` blocked a whole flush. A busy key goes to the next flush, the rest goes on."""
    worker = await cell.member()
    user, flushing = await cell.session(), await impatient(cell)
    await user.execute("BEGIN")
    users = await start_in(cell, user, "busy")
    mine, free = start(key="busy"), start(key="free")
    reply = await cell.flush(worker, 1, batch(mine, free), flushing)
    assert reply.busy_keys == {"busy"}
    assert await cell.rows("SELECT id FROM {}.run") == [(free.id,)]
    await user.execute("COMMIT" if commits else "ROLLBACK")
    reply = await cell.flush(worker, 2, batch(mine), flushing)
    assert reply.known == ({mine.id: (users.run_id, True)} if commits else {})
    owner = await cell.value("SELECT run_id FROM {}.start_key WHERE key = 'busy'")
    assert owner == (users.run_id if commits else mine.id)


async def test_keys_in_opposite_order_do_not_deadlock(cell):
    """Finding 9: two flushes that insert the same keys in different order deadlocked. Try-locks never wait."""
    one, two = await cell.member(), await cell.member()
    first, second = await cell.session(), await impatient(cell)
    async with first.transaction():
        await cell.flush(one, 1, batch(start(key="a"), start(key="b")), first)
        reply = await cell.flush(two, 1, batch(start(key="b"), start(key="a"), start()), second)
    assert reply.busy_keys == {"a", "b"}
    assert await cell.value("SELECT count(*) FROM {}.run") == 3


@pytest.mark.parametrize("by_key", [True, False], ids=["by key", "by id"])
async def test_a_users_open_transaction_does_not_stall_a_flush_that_sends(cell, by_key):
    """Finding 9, for messages: an open start of the key, or an open message to the same idle run, must not block a flush."""
    worker = await cell.member()
    user, flushing = await cell.session(), await impatient(cell)
    if by_key:
        await user.execute("BEGIN")
        target = (await start_in(cell, user, "k")).run_id
        message = send(None, key="k")
    else:
        target = (await start_in(cell, user, "k")).run_id
        await user.execute("BEGIN")
        assert await store.send_message(user, cell.q, send(target)) == "sent"
        message = send(target)
    other = start()
    reply = await cell.flush(worker, 1, batch(message, other), flushing)
    assert reply.sent == {message.id: "busy"}
    assert await cell.run(other.id) == ("ready", None)
    await user.execute("COMMIT")
    assert (await cell.flush(worker, 2, batch(message), flushing)).sent == {message.id: "sent"}
    heard = await cell.rows("SELECT run_id FROM {}.message WHERE id = %s", message.id)
    assert heard == [(target,)]


async def test_a_busy_message_is_sent_when_its_run_is_free(cell):
    """The node sends again what met an open transaction; meanwhile all else of the process proceeds."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w() -> str:
        return await troth.receive("go", str)

    user = await cell.session()
    async with troth.worker():
        async with user.transaction():
            await troth.start(w, key="k", tx=user)
            sending = asyncio.create_task(troth.send("k", "go", "on"))
            other = await troth.start(w)
            await troth.send(other, "go", "first")
            assert await other.result(timeout=10) == "first"
            assert not sending.done()
        await sending
        assert await (await troth.start(w, key="k")).result(timeout=10) == "on"


# One key, one run ----------------------------------------------------------------------------------------------------


async def test_the_same_key_twice_in_one_flush(cell):
    """Two requests of one process in one flush are one run; the other learns whether it was the same request."""
    worker = await cell.member()
    one, same, other = start(key="k"), start(key="k"), start(key="k", payload=b"[1]")
    reply = await cell.flush(worker, 1, batch(one, same, other))
    winner = await cell.value("SELECT run_id FROM {}.start_key")
    assert await cell.rows("SELECT id FROM {}.run") == [(winner,)]
    assert reply.known == {
        s.id: (winner, s.digest == one.digest) for s in (one, same, other) if s.id != winner
    }


@pytest.mark.parametrize("commits", [True, False])
async def test_two_open_starts_of_one_key(cell, commits):
    """The second transaction waits for the first: it gets that run if it commits, and its own if it does not."""
    first, second = await cell.session(), await cell.session()
    await first.execute("BEGIN")
    winner = await start_in(cell, first, "k")
    waits = await cell.blocked(start_in(cell, second, "k", b"[1]"), second, by=first)
    await first.execute("COMMIT" if commits else "ROLLBACK")
    got = await waits
    if commits:
        assert got == Started(winner.run_id, fresh=False, same=False)
    else:
        assert got.fresh
    assert await cell.value("SELECT count(*) FROM {}.run") == 1


@pytest.mark.parametrize(
    "level",
    [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE],
    ids=lambda level: level.name.lower(),
)
async def test_a_start_on_an_older_snapshot_is_a_serialization_failure(cell, level):
    """A start that the snapshot does not see is no defect of the user's code: 40001 says, run the transaction again."""
    user = await cell.session(level)
    await user.execute("BEGIN ISOLATION LEVEL " + level.name.replace("_", " "))
    await user.execute("SELECT 1 FROM pg_class LIMIT 1")
    first = await start_in(cell, await cell.session(), "k")
    with pytest.raises(DatabaseError) as error:
        await start_in(cell, user, "k")
    assert failure_of(error.value) is Failure.CONFLICT
    await user.execute("ROLLBACK")
    assert await start_in(cell, user, "k") == Started(first.run_id, fresh=False, same=True)


async def test_impatient_users_in_two_processes_get_one_run(cell):
    """A user retries because the UI looked stuck: any number of starts with one key, from two processes, is one run."""
    executed: list[str] = []

    def program() -> Troth:
        troth = Troth(cell.url, schema=cell.schema)

        @troth.step
        async def sign_up(name: str) -> str:
            executed.append(name)
            return name

        @troth.workflow
        async def signup(name: str) -> str:
            return await sign_up(name)

        return troth

    one, two = program(), program()
    results: list[str] = []

    async def impatient_user(troth: Troth) -> None:
        run = await troth.start(troth.workflows["signup"], "ada", key="ada")
        results.append(str(run.id))
        assert await run.result(timeout=20) == "ada"

    async def process(troth: Troth, *, executes: bool) -> None:
        opened = troth.worker() if executes else troth.client()
        async with opened, asyncio.TaskGroup() as users:
            for _ in range(20):
                users.create_task(impatient_user(troth))

    await asyncio.gather(
        asyncio.to_thread(asyncio.run, process(one, executes=True)),
        asyncio.to_thread(asyncio.run, process(two, executes=False)),
    )
    assert len(results) == 40
    assert len(set(results)) == 1
    assert executed == ["ada"]


async def test_the_same_key_with_another_input_names_the_difference(cell):
    """P4: the error says what differs and which run has the key, also when that run has ended."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def pay(amount: int, currency: str) -> int:
        return amount

    async with troth.worker():
        run = await troth.start(pay, 5, "EUR", key="k")
        await run.result(timeout=10)
        with pytest.raises(KeyConflictError) as error:
            await troth.start(pay, 6, "EUR", key="k")
        assert error.value.run_id == run.id
        assert error.value.differences == {"amount": (5, 6)}


# Starting inside the user's transaction -----------------------------------------------------------------------------


async def test_a_run_exists_if_and_only_if_the_transaction_commits(cell):
    """start(tx=): until the commit nobody sees the run; after a rollback there is none, and the key is free."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w(n: int) -> int:
        return n

    user = await cell.session()
    async with troth.worker():
        await user.execute("BEGIN")
        lost = await troth.start(w, 1, key="k", tx=user)
        assert await cell.run(lost.id) is None
        await user.execute("ROLLBACK")
        assert await cell.value("SELECT count(*) FROM {}.start_key") == 0
        async with user.transaction():
            kept = await troth.start(w, 2, key="k", tx=user)
        assert await kept.result(timeout=10) == 2
        assert await cell.value("SELECT count(*) FROM {}.run_history") == 1


async def test_a_transaction_of_another_database_is_refused(cell):
    """Two databases cannot commit together, not even if one is a copy of the other, with the same schema under the same oid."""
    ours, theirs = f"ours_{cell.schema}", f"theirs_{cell.schema}"
    url = await asyncio.to_thread(create_database, cell.url, ours)
    try:
        await asyncio.to_thread(migrate, url, cell.schema)
        copy = await asyncio.to_thread(create_database, cell.url, theirs, ours)
        troth = Troth(url, schema=cell.schema)

        @troth.workflow
        async def w() -> None: ...

        foreign = await cell.session(url=copy)
        async with troth.client(), foreign.transaction():
            with pytest.raises(ForeignTransactionError):
                await troth.start(w, tx=foreign)
            with pytest.raises(ForeignTransactionError):
                await troth.send("k", "go", 1, tx=foreign)
        await foreign.close()
    finally:
        session = await cell.session()
        for name in (theirs, ours):
            await session.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


# Cells ---------------------------------------------------------------------------------------------------------------


async def test_two_cells_in_one_database_are_strangers(cell):
    """One cell is one schema: the same keys, messages and worker ids side by side, and nothing crosses."""
    second = f"{cell.schema}_b"
    await asyncio.to_thread(migrate, cell.url, second)

    def program(schema: str, number: int) -> Troth:
        troth = Troth(cell.url, schema=schema, cell=number)

        @troth.workflow
        async def w(name: str) -> list[str]:
            return [name, await troth.receive("go", str)]

        return troth

    async def life(troth: Troth, name: str) -> list[str]:
        async with troth.worker():
            run = await troth.start(troth.workflows["w"], name, key="same")
            await troth.send("same", "go", f"to {name}")
            assert ids.cell_of(run.id) == troth.cell
            got: list[str] = await run.result(timeout=20)
            return got

    try:
        one, two = await asyncio.gather(
            life(program(cell.schema, 3), "one"),
            asyncio.to_thread(asyncio.run, life(program(second, 4), "two")),
        )
        # Not even a lock is shared: an open start in one cell would stall the same key in the other.
        assert await cell.value(f"SELECT {{}}.key_lock('k') <> {second}.key_lock('k')")
        assert (one, two) == (["one", "to one"], ["two", "to two"])
    finally:
        await cell.rows(f"DROP SCHEMA {second} CASCADE")


async def test_a_start_for_later_is_claimed_when_it_is_due(cell):
    """starts_at is in the row, not in a timer: whoever is there claims it, and not before."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w() -> datetime:
        return troth.now()

    at = datetime.now(UTC) + timedelta(seconds=1.5)
    async with troth.client():
        run = await troth.start(w, at=at)
    async with troth.worker():
        assert await run.result(timeout=20) == at
        ended = "SELECT ended_at FROM {}.run_history WHERE id = %s"
        assert await cell.value(ended, run.id) >= at - timedelta(seconds=0.05)


async def test_a_key_stays_taken_when_its_run_has_ended(cell):
    """Finding 8, for keys: the run has left the hot set, its key has not."""
    worker = await cell.member()
    run = await cell.owned_run(worker, key="k")
    await cell.flush(worker, 2, batch(end(run)))
    again = start(key="k")
    assert (await cell.flush(worker, 3, batch(again))).known == {again.id: (run, True)}
    assert await cell.value("SELECT count(*) FROM {}.run") == 0


async def test_a_flush_sees_a_start_that_committed_between_its_lock_and_its_read(cell):
    """The key's lock is taken before the key is read, so a start that held it is seen when it lets go."""
    worker = await cell.member()
    user = await cell.session()
    async with user.transaction():
        first = await start_in(cell, user, "k")
    mine = start(key="k")
    assert (await cell.flush(worker, 1, batch(mine))).known == {mine.id: (first.run_id, True)}

    async def one() -> bool:
        return bool(await cell.value("SELECT count(*) FROM {}.run") == 1)

    await until(one, "there is one run")
