"""What cannot be is said at once, by name, also to programs that no type checker reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.workflow.place import QUICK, Place
from troth import Call, PayloadError, Topic, Troth, Tx, UsageError
from troth.workflow import given


def body() -> None: ...


async def sends(call: Call) -> None: ...


async def forgets(account: int) -> None: ...


DECLARED: dict[str, tuple[Callable[[Any], object], str]] = {
    "a timeout": (lambda t: t.workflow(timeout="5")(forgets), "workflow forgets: the timeout is a number of seconds"),
    "no end": (lambda t: t.workflow(timeout=float("nan"))(forgets), "must be greater than 0"),
    "an answer": (lambda t: t.step(fails_on="ValueError")(body), "body: fails_on= takes the types of exceptions"),
    "a base": (lambda t: t.step(fails_on=KeyboardInterrupt)(body), "fails_on= takes the types of exceptions"),
    "a retry": (lambda t: t.step(retry=3)(body), r"body: retry= is a Retry, like Retry\(attempts=3\)"),
    "a queue": (lambda t: t.workflow(queue="mail")(forgets), r"like Queue\('mail', concurrency=50\)"),
    "a delivery": (
        lambda t: t.effect(delivery="once", timeout=5)(sends),
        "effect sends: delivery= is 'at_most_once' or 'at_least_once', not 'once'",
    ),
    "a provider": (lambda t: t.effect(provider="bank", timeout=5)(sends), r"like Provider\('bank'\)"),
    "no call": (
        lambda t: t.effect(delivery="at_most_once", timeout=5)(forgets),
        "effect forgets: its first parameter must be a Call",
    ),
    "no tx": (lambda t: t.transaction(forgets), "transaction forgets: its first parameter must be a Tx"),
    "a topic": (lambda _: Topic[int](3), "3 cannot be a topic"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", DECLARED)
def test_what_is_declared(troth: Troth, wrong: str) -> None:
    declare, said = DECLARED[wrong]
    with pytest.raises(UsageError, match=said):
        declare(troth)
    assert not troth.steps
    assert not troth.workflows


def test_a_connection_is_a_transaction_by_whatever_type(troth: Troth) -> None:
    @troth.transaction  # type: ignore[arg-type]  # what it is given is one
    async def plain(tx: psycopg.AsyncConnection[Any]) -> None: ...

    @troth.transaction
    async def usual(tx: Tx) -> None: ...

    assert len(troth.steps) == 2


CALLED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a key": (lambda t, w: t.start(w, key=5), r"a key is a text, not 5 \(a int\)"),
    "a time": (lambda t, w: t.start(w, at="noon"), "at= is a datetime with its time zone, not 'noon'"),
    "no zone": (lambda t, w: t.start(w, at=datetime(2026, 1, 1)), "at=2026-01-01 00:00:00 has no time zone"),  # noqa: DTZ001
    "a deadline": (lambda t, w: t.start(w, deadline=5), "deadline= is a datetime"),
    "a tx": (lambda t, w: t.start(w, tx=5), "tx= is an open transaction"),
    "a run": (lambda t, _: t.send(5, "topic"), "a message is for a run, given by handle, id or start key"),
    "no run": (lambda t, _: t.send(None, "topic"), "a message is for a run"),
    "a message's key": (lambda t, _: t.send("k", "topic", key=5), "the key of a message has"),
    "an id": (lambda t, _: t.run("k"), "the id of a run is a UUID, not 'k'"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", CALLED)
async def test_what_is_called(place: Place, troth: Troth, wrong: str) -> None:
    @troth.workflow
    async def waits() -> None: ...

    call, said = CALLED[wrong]
    async with troth.client():
        with pytest.raises(UsageError, match=said):
            await call(troth, waits)


def test_a_message_of_another_type_is_told_to_who_sends_it() -> None:
    with pytest.raises(
        PayloadError, match="a message of n is of type int, and 'one' is not: Expected `int`"
    ):
        Topic[int]("n").encode("one")  # type: ignore[arg-type]


async def test_the_key_that_an_item_is_given(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def item(n: int) -> int:
        return n

    @troth.workflow
    async def batch() -> list[str]:
        said = []
        for key in (5, lambda _: None, lambda _: "", lambda _: "a\0b"):
            try:
                await troth.map(item, [1], key=key)  # type: ignore[arg-type]
            except UsageError as error:
                said.append(str(error))
        return said

    async with troth.worker(QUICK):
        not_callable, none, empty, nul = await (await troth.start(batch)).result(20)
    assert "key= is a function, not 5" in not_callable
    assert "key= gave None for item 0" in none
    assert "1 to 500 characters" in empty
    assert "no NUL" in nul


def test_a_deadline_is_a_time_or_a_span() -> None:
    assert given.deadline_s(None) == (None, None)
    assert given.deadline_s(timedelta(minutes=1)) == (None, 60.0)
    run = uuid4()
    assert given.addressee(run) == (run, None)
    assert given.addressee("key") == (None, "key")
