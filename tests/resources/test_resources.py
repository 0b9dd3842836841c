"""Resources: opened once, before what needs them; closed in reverse; never the reason for a doubt."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import BlockingTx, Call, Found, NotInRunError, Retry, Troth, Tx, UsageError
from troth.base.resources import ResourceError
from troth.journal.model import Kind
from troth.workflow.problems import problems


class Settings:
    def __init__(self, name: str) -> None:
        self.name = name


class Client:
    def __init__(self, name: str) -> None:
        self.name = name


class Files:
    pass


async def test_a_resource_is_opened_once_with_what_it_needs_and_closed_in_reverse(
    troth: Troth,
) -> None:
    events: list[str] = []

    @troth.resource
    async def client(settings: Settings) -> AsyncIterator[Client]:
        events.append("client opens")
        await asyncio.sleep(0)
        yield Client(f"client of {settings.name}")
        events.append("client closes")

    @troth.resource
    def settings() -> Iterator[Settings]:
        events.append("settings opens")
        yield Settings("test")
        events.append("settings closes")

    @troth.effect(delivery="at_most_once", timeout=5)
    async def charge(call: Call, n: int) -> str:
        return call.get(Client).name

    @troth.step
    async def read(n: int) -> str:
        return troth.get(Client).name

    @troth.transaction
    async def write(tx: Tx) -> str:
        return troth.get(Settings).name

    @troth.transaction
    def write_blocking(tx: BlockingTx) -> str:
        return troth.get(Settings).name

    @troth.workflow
    async def all_of_them() -> list[str]:
        many = await asyncio.gather(*(charge(n) for n in range(5)), *(read(n) for n in range(5)))
        return [*sorted(set(many)), await write(), await write_blocking()]

    async with troth.worker(QUICK):
        assert events == [], "nothing is opened before it is needed"
        run = await troth.start(all_of_them)
        assert await soon(run.result()) == ["client of test", "test", "test"]
        assert events == ["settings opens", "client opens"]
    assert events == ["settings opens", "client opens", "client closes", "settings closes"]


async def test_a_resource_that_cannot_be_opened_fails_the_attempt_and_leaves_no_doubt(
    troth: Troth, place: Place
) -> None:
    sent: list[str] = []
    tries: list[int] = []

    @troth.resource
    async def client() -> AsyncIterator[Client]:
        tries.append(1)
        if len(tries) < 3:
            msg = "no address for the provider"
            raise OSError(msg)
        yield Client("at last")

    @troth.effect(
        delivery="at_most_once",
        timeout=5,
        retry=Retry(attempts=5, first=timedelta(milliseconds=10)),
    )
    async def charge(call: Call) -> str:
        sent.append(call.get(Client).name)
        return f"attempt {call.attempt}"

    @troth.workflow
    async def pay() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(pay)
        assert await soon(run.result()) == "attempt 3"
    assert sent == ["at last"]
    assert len(tries) == 3
    failed = [entry for entry in place.journal(run.id) if entry[1] == Kind.ATTEMPT]
    assert len(failed) == 2
    for entry in failed:
        assert b'"not done"' in (entry[5] or b"")
        assert b"no address for the provider" in (entry[5] or b"")


async def test_a_resource_that_never_opens_asks_a_person_and_nobody_is_in_doubt(
    troth: Troth, place: Place
) -> None:
    @troth.resource
    async def client() -> AsyncIterator[Client]:
        msg = "no address"
        raise OSError(msg)
        yield Client("never")

    @troth.effect(
        delivery="at_most_once",
        timeout=5,
        retry=Retry(attempts=2, first=timedelta(milliseconds=10)),
    )
    async def charge(call: Call) -> str:
        return call.get(Client).name

    @troth.workflow
    async def pay() -> str:
        return await charge()

    async with troth.worker(QUICK):
        run = await troth.start(pay)
        reason, detail = await place.attention(run)
    assert reason == "retries_exhausted"
    assert "Client could not be opened" in str(detail)


async def test_a_def_effect_that_asks_for_what_belongs_to_the_loop_has_sent_nothing(
    troth: Troth, place: Place
) -> None:
    called: list[str] = []

    @troth.resource
    async def client() -> AsyncIterator[Client]:
        yield Client("real")

    @troth.step
    async def opens() -> str:
        return troth.get(Client).name

    @troth.effect(delivery="at_most_once", timeout=5, retry=Retry(attempts=1))
    def charge(call: Call) -> str:
        called.append("charge")
        return call.get(Client).name

    @troth.workflow
    async def pay() -> str:
        await opens()  # it is open already, and still the loop's
        return await charge()

    assert [each for each in problems(troth) if "charge: Client belongs to the event loop" in each]
    async with troth.worker(QUICK):
        reason, detail = await place.attention(await troth.start(pay))
        assert reason == "retries_exhausted"  # not in doubt
        assert "Client belongs to the event loop" in detail["message"]
        assert "It was not sent" in detail["message"]
        assert called == []
        with troth.replaced(Client, Client("fake")):
            assert problems(troth) == []
            assert await (await troth.start(pay)).result(timeout=20) == "fake"


async def test_steps_and_transactions_fail_their_attempt_too(troth: Troth, place: Place) -> None:
    tries: list[int] = []

    @troth.resource
    def client() -> Iterator[Client]:
        tries.append(1)
        if len(tries) == 1:
            raise OSError
        yield Client("real")

    @troth.step(retry=Retry(attempts=2, first=timedelta(milliseconds=10)))
    def read() -> str:
        return troth.get(Client).name

    @troth.transaction(retry=Retry(attempts=2, first=timedelta(milliseconds=10)))
    async def write(tx: Tx) -> str:
        return troth.get(Client).name

    @troth.workflow
    async def both() -> list[str]:
        return list(await asyncio.gather(read(), write()))

    async with troth.worker(QUICK):
        run = await troth.start(both)
        assert await soon(run.result()) == ["real", "real"]


async def test_probes_and_undos_get_resources(troth: Troth) -> None:
    undone: list[str] = []

    @troth.resource
    async def client() -> AsyncIterator[Client]:
        yield Client("real")

    @troth.effect(delivery="at_most_once", timeout=5)
    async def charge(call: Call) -> str:
        raise TimeoutError

    @charge.probe
    async def look(call: Call) -> Found[str]:
        return Found(call.get(Client).name)

    @charge.undo
    async def refund(call: Call, charged: str) -> None:
        undone.append(f"{charged} by {call.get(Client).name}")

    class Sorry(Exception):
        pass

    @troth.workflow(fails_on=Sorry)
    async def pay() -> None:
        await charge()
        raise Sorry

    async with troth.worker(QUICK):
        run = await troth.start(pay)
        with pytest.raises(Exception, match="Sorry"):
            await soon(run.result())
    assert undone == ["real by real"]


async def test_what_is_replaced_is_not_opened(troth: Troth) -> None:
    opened: list[str] = []

    @troth.resource
    async def client() -> AsyncIterator[Client]:
        opened.append("client")
        yield Client("real")

    @troth.step
    async def read() -> str:
        return troth.get(Client).name

    @troth.workflow
    async def look(n: int) -> str:
        return await read()

    async with troth.worker(QUICK):
        with troth.replaced(Client, Client("fake")):
            assert await soon((await troth.start(look, 1)).result()) == "fake"
        assert opened == []
        assert await soon((await troth.start(look, 2)).result()) == "real"


async def test_a_helper_of_the_same_module_may_ask(troth: Troth) -> None:
    @troth.resource
    async def client() -> AsyncIterator[Client]:
        yield Client("real")

    @troth.step
    async def read() -> str:
        return _helper(troth)

    @troth.workflow
    async def look() -> str:
        return await read()

    async with troth.worker(QUICK):
        assert await soon((await troth.start(look)).result()) == "real"


def _helper(troth: Troth) -> str:
    return troth.get(Client).name


async def test_a_def_step_gets_what_it_does_not_name(troth: Troth) -> None:
    kinds = {"client": Client}

    @troth.resource
    def client() -> Iterator[Client]:
        yield Client(threading.current_thread().name)

    @troth.step
    def read() -> bool:
        return bool(troth.get(kinds["client"]).name)

    @troth.workflow
    async def look() -> bool:
        return await read()

    async with troth.worker(QUICK):
        assert await soon((await troth.start(look)).result())


async def test_errors_say_what_there_is(troth: Troth, place: Place) -> None:
    kinds = {"files": Files, "client": Client}

    @troth.resource
    async def client() -> AsyncIterator[Client]:
        yield Client("real")

    @troth.step
    async def ask(what: str) -> str:
        return str(troth.get(kinds[what]))

    @troth.step
    def ask_in_thread() -> str:
        return troth.get(Client).name

    @troth.workflow
    async def look(what: str) -> str:
        return await ask(what) if what else await ask_in_thread()

    async with troth.worker(QUICK):
        told = [
            (await place.attention(await troth.start(look, w)))[1] for w in ("files", "client", "")
        ]
    assert (
        "no resource of type Files; registered with @troth.resource: Client" in told[0]["message"]
    )
    assert "Name Client in the step's own function" in told[1]["message"]
    assert "belongs to the event loop" in told[2]["message"]
    with pytest.raises(NotInRunError, match="outside a step"):
        troth.get(Client)


async def test_workflow_code_has_none(troth: Troth, place: Place) -> None:
    @troth.workflow
    async def look() -> str:
        return troth.get(Client).name

    async with troth.worker(QUICK):
        _, detail = await place.attention(await troth.start(look))
    assert "use Client in a step" in detail["message"]


def test_definitions_that_cannot_work_are_refused(troth: Troth) -> None:
    with pytest.raises(UsageError, match="must yield"):

        @troth.resource
        def nothing() -> Client:
            return Client("")

    with pytest.raises(UsageError, match=r"-> AsyncIterator\[Client\]"):

        @troth.resource
        async def untyped():
            yield Client("")

    with pytest.raises(UsageError, match="parameter name must have the type"):

        @troth.resource
        def of_a_name(name) -> Iterator[Client]:
            yield Client(name)

    @troth.resource
    def first() -> Iterator[Client]:
        yield Client("")

    with pytest.raises(UsageError, match="two resources of type Client"):

        @troth.resource
        def second() -> Iterator[Client]:
            yield Client("")


async def test_resources_that_need_each_other_are_named(troth: Troth, place: Place) -> None:
    @troth.resource
    def client(settings: Settings) -> Iterator[Client]:
        yield Client("")

    @troth.resource
    def settings(client: Client) -> Iterator[Settings]:
        yield Settings("")

    @troth.step
    def read() -> str:
        return troth.get(Client).name

    @troth.workflow
    async def look() -> str:
        return await read()

    async with troth.worker(QUICK):
        _, detail = await place.attention(await troth.start(look))
    assert "Client needs Settings needs Client" in detail["message"]


async def test_it_is_entered_and_left_in_one_task_and_one_context(troth: Troth) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    tasks: list[object] = []

    @troth.resource
    async def client() -> AsyncIterator[Client]:
        token = variable.set("inside")
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(60):  # can be left only by the task that entered it
            yield Client("real")
        tasks.append(asyncio.current_task())
        variable.reset(token)
        tasks.append("reset")

    @troth.step
    async def read() -> str:
        return troth.get(Client).name

    @troth.workflow
    async def look() -> str:
        return await read()

    async with troth.worker(QUICK):
        await soon((await troth.start(look)).result())
    assert tasks[0] is tasks[1]
    assert tasks[2] == "reset"


def test_the_error_is_public_in_its_room() -> None:
    assert issubclass(ResourceError, Exception)
