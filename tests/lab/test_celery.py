"""Celery's tasks under the lab: the library is the real one, and its settings decide what is lost and what is done twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from celery import Celery

from tests.lab import celery_tasks as tasks
from troth.lab import Lab, LabError
from troth.lab.steps import Limits


def shop(lab: Lab, request: Callable[[], int]) -> None:
    """Somebody asks until it is accepted; a worker does what was sent."""
    lab.database("celery.db", seed=tasks.ORDERS)
    lab.stripe()
    queue = lab.celery(tasks.app)
    lab.user(request, overlap=1)
    lab.workers(queue, n=1)


def invoices(lab: Lab, request: Callable[[], int]) -> None:
    shop(lab, request)
    lab.always("invoiced once", lambda w: len(w.db.invoices) <= 1, costs="a credit note")
    lab.at_rest("it is invoiced", lambda w: w.db.invoices)


def charges(lab: Lab, task: tasks.Task) -> None:
    shop(lab, partial(tasks.send, task, 1))
    lab.always("charged once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    lab.at_rest("it is charged", lambda w: w.stripe.charges)


def found(lab: Lab, **limits: bool) -> dict[str, tuple[str, ...]]:
    verdict = lab.explore(budget=60, expiry=False, **limits)
    assert verdict.word == "VIOLATED", str(verdict)
    return {one.promise.name: one.faults for one in verdict.counterexamples}


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(Limits, "aftermath", 0.2)


@pytest.mark.parametrize(
    ("task", "promise", "faults"),
    [
        pytest.param(
            tasks.invoice_early,
            "it is invoiced",
            {("crash",), ("busy database",)},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            tasks.invoice_late,
            "invoiced once",
            {("crash",), ("lost acknowledgement",)},
            marks=pytest.mark.slow,
        ),
        (tasks.invoice_late_and_once, "it is invoiced", {("busy database",)}),
        (tasks.invoice_in_a_pool, "it is invoiced", {("lost worker",)}),
    ],
)
def test_what_the_settings_of_a_task_lose_or_double(lab: Lab, task, promise: str, faults):
    invoices(lab, partial(tasks.send, task, 1))
    assert found(lab).get(promise) in faults


def test_a_task_that_is_sent_before_the_commit(lab: Lab):
    invoices(lab, tasks.order_then_commit)
    assert found(lab) == {"it is invoiced": ("delivery meanwhile",)}


def test_retries_without_a_key_charge_twice(lab: Lab):
    """`autoretry_for` sends the task again; that the answer was lost does not mean that nothing happened."""
    charges(lab, tasks.charge_and_try_again)
    lab.always(
        "nothing that was charged is tried again",
        lambda w: not (w.stripe.charges and any(one["retries"] for one in w.celery.messages)),
    )
    faults = found(lab)
    assert faults["nothing that was charged is tried again"] == ("lost answer",)
    assert len(faults["charged once"]) == 1


@pytest.mark.slow
def test_retries_end_and_then_it_is_lost(lab: Lab):
    charges(lab, tasks.charge_and_try_again_with_a_key)
    faults = found(lab)
    assert "charged once" not in faults
    assert len(faults["it is charged"]) <= 3


@pytest.mark.parametrize(
    "request_",
    [
        partial(tasks.send, tasks.invoice_until_it_is_done, 1),
        pytest.param(tasks.commit_then_order, marks=pytest.mark.slow),
    ],
    ids=["until it is done", "commit, then order"],
)
def test_what_is_right_holds(request_: Callable[[], int]):
    lab = Lab("celery", closer=0)
    invoices(lab, request_)
    verdict = lab.explore(budget=60, expiry=False)
    assert verdict.word == "HOLDS", str(verdict)
    assert any("countdowns take no time" in line for line in verdict.model)


@pytest.mark.slow
def test_a_chain_goes_on_by_a_message_that_may_not_be_sent(lab: Lab):
    """What comes next is sent when the task is done; if the broker does not answer then, the task has failed, and was acknowledged."""
    invoices(lab, tasks.pack_then_invoice)
    assert found(lab) == {"it is invoiced": ("lost connection",)}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_group_holds():
    lab = Lab("group", closer=0)
    invoices(lab, tasks.pack_and_invoice)
    verdict = lab.explore(budget=120, expiry=False, in_flight=0)
    assert verdict.word == "HOLDS", str(verdict)


def test_an_id_of_ones_own_may_be_used(lab: Lab):
    shop(lab, tasks.invoice_by_name)
    lab.always(
        "it is known by its name", lambda w: {one.email for one in w.db.orders} <= {"order-1"}
    )
    lab.at_rest("it is noted", lambda w: w.db.orders)
    assert set(found(lab)) == {"it is noted"}


def test_the_id_of_a_task_that_has_none_of_its_own_is_refused(lab: Lab):
    shop(lab, partial(tasks.send, tasks.note_its_id, 1))
    lab.at_rest("whatever", lambda w: True)
    verdict = lab.explore(budget=20)
    assert verdict.word == "REFUSED", str(verdict)
    assert "INSERT INTO orders" in verdict.reason


def test_what_cannot_be_followed_is_refused(lab: Lab):
    shop(lab, partial(tasks.send, tasks.expires_soon, 1))
    lab.at_rest("whatever", lambda w: True)
    assert "expires; that is not explored yet" in lab.explore(budget=20).reason
    other = Lab("undeclared", closer=0)
    other.user(partial(tasks.send, tasks.invoice_early, 1))
    other.always("whatever", lambda w: True)
    assert "declare lab.celery(app)" in other.explore(budget=20, confirm=False).reason
    with pytest.raises(LabError, match="is Celery's configuration"):
        lab.workers(lab.celery(tasks.app, "other"), tasks.invoice)
    eager = Celery("eager")
    eager.conf.task_always_eager = True
    with pytest.raises(LabError, match="task_always_eager"):
        lab.celery(eager)
