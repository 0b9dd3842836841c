"""Steps and transactions on a real database: what they return, what they refuse, and what is committed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import (
    BlockingTx,
    NotInRunError,
    Refused,
    RunFailedError,
    Troth,
    Tx,
    UsageError,
)


@dataclass(frozen=True)
class Account:
    id: int
    balance: Decimal


class EmailTaken(Exception):
    """Its message is not its argument, as is common."""

    def __init__(self, email: str) -> None:
        super().__init__(f"{email} is taken")
        self.email = email


class NotEnough(Exception):
    def __init__(self, *, missing: int) -> None:
        super().__init__(f"{missing} missing")
        self.missing = missing


@dataclass
class Rejected(Exception):
    code: int
    why: str


class Fussy(Exception):
    def __init__(self, code: str) -> None:
        super().__init__({"E1": "the first"}[code])


@pytest.fixture
def accounts(place: Place) -> Iterator[str]:
    """A table of the user's own, in the same database."""
    name = f"account_{place.schema}"
    place.rows("CREATE TABLE " + name + " (id integer PRIMARY KEY, balance numeric NOT NULL)")
    yield name
    place.rows("DROP TABLE " + name)


async def test_steps_return_their_types_live_and_replayed(place: Place, troth: Troth) -> None:
    @troth.step
    async def open_account(number: int) -> Account:
        return Account(number, Decimal("10.50"))

    @troth.step
    def double(account: Account) -> Account:
        assert threading.current_thread() is not threading.main_thread()
        return Account(account.id, account.balance * 2)

    @troth.workflow
    async def work(number: int) -> list[Account]:
        account = await open_account(number)
        assert isinstance(account, Account)
        await troth.receive("go")  # let go of by the worker, and replayed
        return [account, await double(account)]

    async with troth.worker(QUICK):
        run = await troth.start(work, 7)
        await place.until_state(run, "waiting")
        await troth.send(run, "go")
        assert await soon(run.result()) == [
            Account(7, Decimal("10.50")),
            Account(7, Decimal("21.00")),
        ]
    assert place.results(run.id) == ["open_account", "receive.go", "double"]


async def test_a_step_runs_once_even_if_its_run_is_replayed(place: Place, troth: Troth) -> None:
    performed: list[int] = []

    @troth.step
    async def note(n: int) -> int:
        performed.append(n)
        return n

    @troth.workflow
    async def work() -> int:
        total = await note(1)
        await troth.receive("go")
        total += await note(2)
        await troth.receive("go")
        return total + await note(3)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        for _ in range(2):
            await place.until_state(run, "waiting")
            await troth.send(run, "go")
            await place.until(lambda: place.state(run.id) != "ready", "it is claimed")
        assert await soon(run.result()) == 6
    assert performed == [1, 2, 3]


async def test_equal_calls_are_told_apart_by_occurrence(place: Place, troth: Troth) -> None:
    @troth.step(name="say.it")
    async def say(text: str) -> str:
        return text

    @troth.workflow
    async def work() -> str:
        return await say("a") + await say("a") + await say("b")

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == "aab"
    assert place.results(run.id) == ["say.it", "say.it#2", "say.it#3"]


async def test_a_coroutine_that_is_awaited_later_keeps_the_identity_of_its_call(
    place: Place, troth: Troth
) -> None:
    @troth.step
    async def echo(n: int) -> int:
        return n

    @troth.workflow
    async def work() -> list[int]:
        first, second = echo(1), echo(2)
        return [await second, await first]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == [2, 1]
    assert place.results(run.id) == ["echo#2", "echo"]


# ── transactions ────────────────────────────────────────────────────────────────────────────────


async def test_transactions_commit_with_their_journal_entry(
    place: Place, troth: Troth, accounts: str
) -> None:
    @troth.transaction
    async def insert(tx: Tx, number: int) -> int:
        rows = await tx.execute(
            f"INSERT INTO {accounts} VALUES (%s, 1) RETURNING id, pg_current_xact_id()::text::bigint",  # type: ignore[arg-type]
            (number,),
        )
        row = await rows.fetchone()
        assert row is not None
        return int(row[1])

    @troth.transaction
    def insert_blocking(tx: BlockingTx, number: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        row = tx.execute(
            f"INSERT INTO {accounts} VALUES (%s, 2) RETURNING id, pg_current_xact_id()::text::bigint",  # type: ignore[arg-type]
            (number,),
        ).fetchone()
        assert row is not None
        return int(row[1])

    @troth.workflow
    async def work() -> list[int]:
        return [await insert(1), await insert_blocking(2)]

    async with troth.worker(QUICK):
        run = await troth.start(work)
        transactions = await soon(run.result())
    assert place.rows("SELECT id, balance FROM " + accounts + " ORDER BY id") == [(1, 1), (2, 2)]
    written_by = place.rows(
        "SELECT path, xmin::text::bigint FROM {s}.journal WHERE run_id = %s AND kind = 2 ORDER BY seq",
        run.id,
    )
    assert written_by == list(zip(["insert", "insert_blocking"], transactions, strict=True))


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_business_answer_rolls_back_and_comes_out_as_itself(
    place: Place, troth: Troth, accounts: str, *, blocking: bool
) -> None:
    seen: list[Exception] = []

    async def insert(tx: Tx, number: int) -> None:
        await tx.execute(f"INSERT INTO {accounts} VALUES (%s, 1)", (number,))  # type: ignore[arg-type]
        raise EmailTaken("ada@example.com")

    def insert_blocking(tx: BlockingTx, number: int) -> None:
        tx.execute(f"INSERT INTO {accounts} VALUES (%s, 1)", (number,))  # type: ignore[arg-type]
        raise EmailTaken("ada@example.com")

    body = insert_blocking if blocking else insert
    step = troth.transaction(fails_on=EmailTaken)(body)  # type: ignore[call-overload]

    @troth.workflow
    async def work() -> None:
        try:
            await step(1)
        except EmailTaken as error:
            seen.append(error)
            await troth.receive("go")
            raise

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await troth.send(run, "go")
        with pytest.raises(RunFailedError) as failed:
            await soon(run.result())
    live, replayed, told = *seen, failed.value.__cause__
    for error in (live, replayed, told):
        assert type(error) is EmailTaken
        assert str(error) == "ada@example.com is taken"
        assert error.email == "ada@example.com"
    assert place.state(run.id) == "failed"
    assert place.rows("SELECT * FROM " + accounts) == []
    ((path, _, _, _, ok, _), _) = [e for e in place.journal(run.id) if e[1] == 2]
    assert (path, ok) == (body.__name__, False)


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        (NotEnough(missing=3), {"missing": 3}),
        (Rejected(7, "card"), {"code": 7, "why": "card"}),
        (Refused("no", 1), {"args": ("no", 1)}),
        (Fussy("E1"), {"args": ("the first",)}),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_business_answers_of_every_shape_come_out_as_themselves(
    troth: Troth, answer: Exception, fields: dict[str, object]
) -> None:
    @troth.step(fails_on=(NotEnough, Rejected, Fussy))
    async def refuse() -> None:
        raise answer

    @troth.workflow
    async def work() -> None:
        await refuse()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        with pytest.raises(RunFailedError) as failed:
            await soon(run.result())
    told = failed.value.__cause__
    assert type(told) is type(answer)
    assert str(told) == str(answer)
    assert {name: getattr(told, name) for name in fields} == fields
    assert failed.value.error_type.endswith(type(answer).__name__)


async def test_a_subclass_of_a_declared_answer_that_nobody_knows_any_more_is_the_declared_one(
    place: Place, troth: Troth
) -> None:
    class Specific(NotEnough):
        pass

    @troth.step(fails_on=NotEnough)
    async def refuse() -> None:
        raise Specific(missing=1)

    @troth.workflow
    async def work() -> str:
        try:
            await refuse()
        except NotEnough as error:
            return type(error).__name__
        return "nothing"

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == "NotEnough"


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("blocking", [False, True])
async def test_isolation_is_what_the_author_asked_for(
    troth: Troth, level: str, *, blocking: bool
) -> None:
    async def show(tx: Tx) -> str:
        row = await (await tx.execute("SHOW transaction_isolation")).fetchone()
        return str(row and row[0])

    def show_blocking(tx: BlockingTx) -> str:
        row = tx.execute("SHOW transaction_isolation").fetchone()
        return str(row and row[0])

    step = troth.transaction(isolation=level)(show_blocking if blocking else show)  # type: ignore[call-overload]

    @troth.workflow
    async def work() -> str:
        return str(await step())

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == level


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_serialization_failure_runs_the_body_again(
    place: Place, troth: Troth, accounts: str, *, blocking: bool
) -> None:
    """Between its read and its write, somebody else commits a change of the same row: once."""
    place.rows("INSERT INTO " + accounts + " VALUES (1, 10)")
    tries: list[int] = []

    def disturb() -> None:
        tries.append(len(tries) + 1)
        if tries == [1]:
            place.rows("UPDATE " + accounts + " SET balance = balance + 100 WHERE id = 1")

    async def deposit(tx: Tx) -> int:
        row = await (await tx.execute(f"SELECT balance FROM {accounts} WHERE id = 1")).fetchone()  # type: ignore[arg-type]
        await asyncio.to_thread(disturb)
        assert row is not None
        await tx.execute(f"UPDATE {accounts} SET balance = %s WHERE id = 1", (row[0] + 1,))  # type: ignore[arg-type]
        return int(row[0] + 1)

    def deposit_blocking(tx: BlockingTx) -> int:
        row = tx.execute(f"SELECT balance FROM {accounts} WHERE id = 1").fetchone()  # type: ignore[arg-type]
        disturb()
        assert row is not None
        tx.execute(f"UPDATE {accounts} SET balance = %s WHERE id = 1", (row[0] + 1,))  # type: ignore[arg-type]
        return int(row[0] + 1)

    body = deposit_blocking if blocking else deposit
    step = troth.transaction(isolation="repeatable read")(body)  # type: ignore[call-overload]

    @troth.workflow
    async def work() -> int:
        return int(await step())

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) == 111
    assert tries == [1, 2]
    assert place.value("SELECT balance FROM " + accounts) == 111
    assert place.results(run.id) == [body.__name__]


async def test_a_transaction_whose_result_does_not_fit_its_annotation_is_not_committed(
    place: Place, troth: Troth, accounts: str
) -> None:
    """Committed, it could never be replayed."""

    @troth.transaction
    async def insert(tx: Tx) -> int:
        await tx.execute(f"INSERT INTO {accounts} VALUES (1, 1)")  # type: ignore[arg-type]
        return "not a number"  # type: ignore[return-value]

    @troth.workflow
    async def work() -> int:
        return await insert()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        _, detail = await place.attention(run)
    assert "does not fit" in detail["message"]
    assert place.rows("SELECT * FROM " + accounts) == []
    assert place.results(run.id) == []


# ── where a step may be called ──────────────────────────────────────────────────────────────────


async def test_a_step_is_called_only_by_workflow_code(place: Place, troth: Troth) -> None:
    @troth.step
    async def inner() -> int:
        return 1

    @troth.step
    async def outer() -> int:
        return await inner()

    @troth.step
    def outer_blocking() -> str:
        try:
            inner()
        except NotInRunError as error:
            return str(error)
        return "nothing was raised"

    @troth.workflow
    async def nested() -> int:
        return await outer()

    @troth.workflow
    async def nested_blocking() -> str:
        return await outer_blocking()

    with pytest.raises(NotInRunError, match=r"inner is a step.*inner\.__wrapped__"):
        inner()
    assert await inner.__wrapped__() == 1
    async with troth.worker(QUICK):
        with pytest.raises(NotInRunError):
            inner()
        run = await troth.start(nested)
        reason, detail = await place.attention(run)
        assert (reason, detail["type"]) == ("bug", "troth.base.errors.NotInRunError")
        said = await soon((await troth.start(nested_blocking)).result())
        assert "inside another step" in said


async def test_a_workflow_is_started_not_called(troth: Troth) -> None:
    @troth.workflow
    async def work(n: int) -> int:
        return n

    with pytest.raises(UsageError, match=r"start it with troth\.start\(work"):
        work(1)


async def test_wrong_arguments_are_a_bug_of_the_workflow(place: Place, troth: Troth) -> None:
    @troth.step
    async def echo(n: int) -> int:
        return n

    @troth.workflow
    async def work() -> int:
        return await echo(1, 2)  # type: ignore[call-arg]

    async with troth.worker(QUICK):
        reason, detail = await place.attention(await troth.start(work))
    assert reason == "bug"
    assert "too many positional arguments" in detail["message"]
    assert "return await echo(1, 2)" in detail["traceback"]


async def test_the_handle_of_an_id_gives_the_same_typed_result(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> Account:
        return Account(1, Decimal(2))

    async with troth.worker(QUICK):
        run = await troth.start(work)
        by_id = troth.run(str(run.id))
        assert await soon(by_id.result()) == Account(1, Decimal(2))  # told by its own process
        assert await soon(run.result()) == Account(1, Decimal(2))  # read from the database
        assert await soon(by_id.result()) == Account(1, Decimal(2))
