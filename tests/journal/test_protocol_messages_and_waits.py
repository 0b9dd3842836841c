"""No message is lost and no waiter is stranded: release against send in every order, with and without hints."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from psycopg import IsolationLevel

from tests.harness.cell import Cell, batch, crash, end, rest, send, start, until
from tests.harness.proxy import Cut, Proxy
from troth import Troth
from troth.base import ids
from troth.base.errors import RunEndedError, RunNotFoundError
from troth.journal import store
from troth.journal.model import Heard
from troth.store.connect import AsyncConnection
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.worker.node import Node, NodeOptions

QUICK = NodeOptions(lease_s=0.5)
SNAPSHOTS = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]


def receiver(cell: Cell) -> Troth:
    """A program whose workflow `w` returns two messages of the topic `go`."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w() -> list[str]:
        return [await troth.receive("go", str), await troth.receive("go", str)]

    return troth


async def leave(
    cell: Cell, tx: AsyncConnection, run_id: UUID | None, key: str | None = None
) -> str:
    return await store.send_message(tx, cell.q, send(run_id, key=key))


async def waiting(cell: Cell, run_id: UUID) -> bool:
    return await cell.run(run_id) == ("waiting", None)


# Release against send ------------------------------------------------------------------------------------------------


async def test_a_sender_that_waits_for_the_release_wakes_the_run(cell):
    """Finding 11: the waiter saw no message, the sender saw no waiter. The sender looks again after the release's lock."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    releasing, sender = await cell.session(), await cell.session()
    async with releasing.transaction():
        await cell.flush(worker, 2, batch(rest(mine)), releasing)
        sent = await cell.blocked(leave(cell, sender, mine), sender, by=releasing)
    assert await sent == "sent"
    assert await cell.run(mine) == ("ready", None)
    assert (await cell.flush(worker, 3, batch(claim=1))).claimed == [mine]


async def test_a_release_that_meets_an_open_send_is_put_off(cell):
    """Finding 11, the other order: the run is not let go of while a message is on its way, and then it has mail."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    sender = await cell.session()
    async with sender.transaction():
        await leave(cell, sender, mine)
        reply = await cell.flush(worker, 2, batch(rest(mine)))
        assert reply.busy_runs == {mine}
        assert await cell.run(mine) == ("running", worker)
    reply = await cell.flush(worker, 3, batch(rest(mine)))
    assert reply.kept == {mine}
    assert [message.topic for message in reply.mail[mine]] == ["go"]
    assert await cell.run(mine) == ("running", worker)


async def test_mail_of_another_topic_does_not_keep_a_run(cell):
    """A message that nobody waits for stays where it is, and the run is let go of: no busy loop."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    await leave(cell, await cell.session(), mine)
    reply = await cell.flush(worker, 2, batch(rest(mine, "!cancel,other")))
    assert not reply.kept
    assert await cell.run(mine) == ("waiting", None)


@pytest.mark.parametrize("level", SNAPSHOTS, ids=lambda level: level.name.lower())
async def test_a_send_by_id_on_an_older_snapshot_strands_nobody(cell, level):
    """Finding 11 in a user's transaction: the run looks owned on the old snapshot and waits in truth. 40001, not "sent"."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    user = await cell.session()
    await user.execute("BEGIN ISOLATION LEVEL " + level.name.replace("_", " "))
    await user.execute("SELECT 1 FROM pg_class LIMIT 1")
    await cell.flush(worker, 2, batch(rest(mine)))
    with pytest.raises(DatabaseError) as error:
        await leave(cell, user, mine)
    assert failure_of(error.value) is Failure.CONFLICT


@pytest.mark.parametrize("level", SNAPSHOTS, ids=lambda level: level.name.lower())
async def test_a_send_by_key_on_an_older_snapshot_strands_nobody(cell, level):
    """The key was taken after the snapshot, and its run waits by now: the message must not be left for a run to come."""
    worker = await cell.member()
    user = await cell.session()
    await user.execute("BEGIN ISOLATION LEVEL " + level.name.replace("_", " "))
    await user.execute("SELECT 1 FROM pg_class LIMIT 1")
    mine = await cell.owned_run(worker, key="k")
    await cell.flush(worker, 2, batch(rest(mine)))
    with pytest.raises(DatabaseError) as error:
        await leave(cell, user, None, "k")
    assert failure_of(error.value) is Failure.CONFLICT
    await user.execute("ROLLBACK")
    await user.execute("BEGIN ISOLATION LEVEL " + level.name.replace("_", " "))
    assert await leave(cell, user, None, "free") == "sent"
    await user.execute("COMMIT")
    assert await cell.rows("SELECT key FROM {}.message") == [("free",)]
    assert await cell.rows("SELECT key FROM {}.start_key") == [("k",)]


async def test_a_message_by_key_meets_a_start_that_is_under_way(cell):
    """Sent while the start is open: it waits for the start and goes to that run, or stays under the key without one."""
    user, sender = await cell.session(), await cell.session()
    await user.execute("BEGIN")
    made = start(key="k")
    started = (made.id, "w", "k", made.input, made.digest, 0.0)
    await store.start_run(user, cell.q, *started)
    sent = await cell.blocked(leave(cell, sender, None, "k"), sender, by=user)
    await user.execute("COMMIT")
    assert await sent == "sent"
    assert await cell.rows("SELECT run_id, key FROM {}.message") == [(made.id, None)]


async def test_a_put_off_release_does_not_leave_a_heard_message_behind(cell):
    """Its release is being tried again when a message comes, and the hint is quicker than the next try: the run must not be
    let go of with an answer in the journal that nobody will deliver."""
    troth = receiver(cell)
    async with troth.worker() as opened:
        node = opened.node
        run = await troth.start(troth.workflows["w"])
        await until(lambda: waiting(cell, run.id), "it waits")
        held = await cell.session()
        await held.execute("BEGIN")
        lock = f"SELECT 1 FROM {cell.schema}.run WHERE id = %s FOR KEY SHARE"
        await held.execute(lock, (run.id,))
        await troth.send(run, "other")  # claimed, replayed, and to be let go of again

        async def put_off() -> bool:
            active = node.engine.runs.get(run.id)
            return active is not None and active.releasing

        await until(put_off, "its release is being tried again")
        tries = node.writer.flushes
        await until(lambda: flushed(node, tries + 2), "it is")
        session = await cell.session()
        await session.execute(cell.q.send_message, (ids.new_id(), run.id, None, "go", b'"1"', None))
        tries = node.writer.flushes
        await until(lambda: flushed(node, tries + 3), "the hint was followed")
        await held.execute("COMMIT")
        await troth.send(run, "go", "2")
        assert await run.result(timeout=10) == ["1", "2"]


async def flushed(node: Node, flushes: int) -> bool:
    return node.writer.flushes >= flushes


# Before, after, never ------------------------------------------------------------------------------------------------


async def test_sent_before_the_run_before_the_receive_and_while_it_waits(cell):
    """P6: early, and in time. The first is left under the key before the run exists, the second when it waits."""
    troth = receiver(cell)
    async with troth.worker():
        await troth.send("k", "go", "early")
        run = await troth.start(troth.workflows["w"], key="k")
        await until(lambda: waiting(cell, run.id), "it has heard the first, and waits")
        await troth.send(run, "go", "late")
        assert await run.result(timeout=10) == ["early", "late"]
    assert await cell.value("SELECT count(*) FROM {}.message") == 0


async def test_sent_to_a_run_that_has_not_asked_yet(cell):
    """Messages that come before their receive wait in order, and each is heard once."""
    troth = Troth(cell.url, schema=cell.schema)
    may_ask = asyncio.Event()

    @troth.step
    async def busy() -> None:
        await may_ask.wait()

    @troth.workflow
    async def w() -> list[str]:
        await busy()
        return [await troth.receive("go", str), await troth.receive("go", str)]

    async with troth.worker():
        run = await troth.start(w)
        await troth.send(run, "go", "1")
        await troth.send(run, "go", "2")
        may_ask.set()
        assert await run.result(timeout=10) == ["1", "2"]


async def test_sent_after_the_end_and_to_nobody(cell):
    """Late is told as late, and nobody as nobody; neither leaves a row."""
    troth = receiver(cell)
    async with troth.worker():
        run = await troth.start(troth.workflows["w"], key="k")
        await troth.send(run, "go", "1")
        await troth.send(run, "go", "2")
        await run.result(timeout=10)
        for target in (run, "k"):
            with pytest.raises(RunEndedError):
                await troth.send(target, "go", "3")
        with pytest.raises(RunNotFoundError):
            await troth.send(ids.new_id(), "go", "3")
    assert await cell.value("SELECT count(*) FROM {}.message") == 0


async def test_what_nobody_heard_goes_with_the_run(cell):
    """Messages that were left for a run, by id or by its key, end with it: they are not heard by another one."""
    worker = await cell.member()
    session = await cell.session()
    await leave(cell, session, None, "k")
    mine = await cell.owned_run(worker, key="k")
    await leave(cell, session, mine)
    await cell.flush(worker, 2, batch(end(mine)))
    assert await cell.rows("SELECT * FROM {}.message") == []


async def test_a_message_goes_with_the_commit_that_records_it(cell):
    """Heard and recorded are one commit: until then, and after a rollback, the message is there."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    message = send(mine)
    await cell.flush(worker, 2, batch(message))
    hearing = await cell.session()
    heard = batch(rest(mine))
    heard.heard.append(Heard(mine, message.id))
    await hearing.execute("BEGIN")
    await cell.flush(worker, 3, heard, hearing)
    await hearing.execute("ROLLBACK")
    assert (await cell.flush(worker, 3, batch(looks=(mine,)))).mail[mine][0].id == message.id


# Without hints -------------------------------------------------------------------------------------------------------


async def test_a_lost_hint_strands_nobody(cell):
    """Finding 11: a lost NOTIFY alone must not strand a run. With deaf nodes, heartbeats bring starts and mail home."""
    troth = receiver(cell)
    async with troth.worker(QUICK) as opened:
        await opened.node.bell.close()
        run = await troth.start(troth.workflows["w"])
        await until(lambda: waiting(cell, run.id), "it waits")
        session = await cell.session()
        sent = (ids.new_id(), run.id, None, "go", b'"1"', None)
        await session.execute(cell.q.send_message, sent)
        await until(lambda: waiting(cell, run.id), "it has heard the first, and waits again")
        await session.execute(cell.q.send_message, (ids.new_id(), run.id, None, "go", b'"2"', None))
        assert await run.result(timeout=10) == ["1", "2"]


async def test_a_heartbeat_brings_mail_for_a_run_that_is_in_memory(cell):
    """A run that is busy is not let go of, so nothing will claim it: a deaf node learns of its mail from the heartbeat."""
    troth = Troth(cell.url, schema=cell.schema)
    busy, may_end = asyncio.Event(), asyncio.Event()

    @troth.step
    async def work() -> None:
        busy.set()
        await may_end.wait()

    @troth.workflow
    async def w() -> str:
        _, heard = await asyncio.gather(work(), troth.receive("go", str))
        return heard

    async with troth.worker(QUICK) as opened:
        await opened.node.bell.close()
        run = await troth.start(w)
        await busy.wait()
        session = await cell.session()
        await session.execute(cell.q.send_message, (ids.new_id(), run.id, None, "go", b'"1"', None))

        async def heard() -> bool:
            return bool(await cell.value("SELECT count(*) FROM {}.journal WHERE kind = 2"))

        await until(heard, "the message is heard while the step is running")
        may_end.set()
        assert await run.result(timeout=10) == "1"


async def test_a_listener_is_back_after_its_connection_was_ended(cell):
    """Hints may be lost while nobody listens: after a reconnect the node looks for itself."""
    troth = receiver(cell)
    async with troth.worker(NodeOptions(lease_s=3600)) as opened:
        bell = opened.node.bell
        await bell.listening.wait()
        ended = await cell.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE strpos(query, %s) > 0",
            f'LISTEN "{cell.schema}.',
        )
        assert ended == 1
        made = start()  # while it is deaf: no heartbeat will come for twelve minutes
        await cell.flush(await cell.member(executes=False), 1, batch(made))

        async def claimed() -> bool:
            return await cell.run(made.id) == ("waiting", None)

        await until(claimed, "the node looks for itself")


async def test_garbage_on_a_channel_does_not_deafen_a_node(cell):
    """Anybody may NOTIFY anything; a hint that makes no sense is no reason to stop listening."""
    troth = receiver(cell)
    async with troth.worker(NodeOptions(lease_s=3600)) as opened:
        await opened.node.bell.listening.wait()
        for channel in ("mail", "done", "ready"):
            await cell.rows("SELECT pg_notify(%s, %s)", f"{cell.schema}.{channel}", "garbage")
        made = start()
        client = await cell.member(executes=False)
        await cell.flush(client, 1, batch(made))
        await cell.rows("SELECT pg_notify(%s, '')", f"{cell.schema}.ready")

        async def claimed() -> bool:
            return await cell.run(made.id) == ("waiting", None)

        await until(claimed, "the node still listens")


# A message whose flush got no answer ---------------------------------------------------------------------------------


async def test_a_message_is_heard_once_though_its_sender_lost_its_answer_and_its_identity(cell):
    """P6: the send committed, its answer was lost, its worker was declared dead, the message was heard: not sent again."""
    async with Proxy(cell.url) as proxy:
        sender = Troth(proxy.url, schema=cell.schema)
        worker = await cell.member()
        mine = await cell.owned_run(worker)
        async with sender.client():
            await sender.send(mine, "go", "first")  # the statement is prepared, the connection made
            me = sender.node.writer.worker
            fault = proxy.cut(".flush(", Cut.ANSWER_LOST)
            proxy_reply = asyncio.create_task(sender.send(mine, "go", "second"))
            await fault.happened()
            session = await cell.session()
            await store.takeover(session, cell.q, me, await cell.beat_of(me))
            mail = (await cell.flush(worker, 2, batch(looks=(mine,)))).mail[mine]
            hear = batch(looks=(mine,))
            hear.heard.extend(Heard(mine, message.id) for message in mail)
            await cell.flush(worker, 3, hear)
            await proxy_reply
    assert len(mail) == 2
    assert await cell.value("SELECT count(*) FROM {}.message") == 0


async def test_a_crash_between_hearing_and_the_next_step_repeats_no_message(cell):
    """The receiver is killed after it heard: the next one replays the answer from the journal, and hears the next."""
    first, second = receiver(cell), receiver(cell)
    async with first.worker(QUICK) as opened:
        run = await first.start(first.workflows["w"])
        await first.send(run, "go", "1")

        async def heard() -> bool:
            return bool(await cell.value("SELECT count(*) FROM {}.journal WHERE kind = 2"))

        await until(heard, "the first is heard")
        await crash(opened.node)
        async with second.worker(QUICK):
            await second.send(run.id, "go", "2")
            assert await second.run(run.id).result(timeout=20) == ["1", "2"]
