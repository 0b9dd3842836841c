"""Threads and executors carry the context; where their order is forced they are followed, where it is not they are refused."""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed, wait

import httpx
import pytest

from tests.lab.corpus.shop import API
from troth.lab import Lab
from troth.lab.edge import threads


def charge(key: str = "one") -> int:
    headers = {"Idempotency-Key": key}
    return httpx.post(f"{API}/charges", headers=headers, data={"key": key}).status_code


def refund() -> int:
    return httpx.post(f"{API}/refunds", data={"charge": "ch_1"}).status_code


def explored(lab: Lab, handler):
    lab.stripe()
    lab.user(handler, again=lambda answer: False)
    lab.always("charged once", lambda w: len(w.stripe.charges) <= 1)
    lab.told(200, "charged", lambda w: w.stripe.charges)
    return lab.explore(survived=0, overlap=1)


# ── followed ─────────────────────────────────────────────────────────────────────────────────────


def thread_that_is_joined() -> int:
    worker = threading.Thread(target=charge)
    worker.start()
    worker.join()
    return refund()


def future_whose_result_is_taken() -> int:
    with ThreadPoolExecutor() as pool:
        first = pool.submit(charge).result()
        return max(first, pool.submit(refund).result())


def pool_that_is_left() -> int:
    with ThreadPoolExecutor() as pool:
        pool.submit(charge)
    return refund()


def map_of_one() -> int:
    with ThreadPoolExecutor(initializer=str) as pool:
        return max(pool.map(charge, ["one"]))


def futures_that_are_waited_for() -> int:
    pool = ThreadPoolExecutor()
    done, left = wait([pool.submit(charge)], return_when=FIRST_COMPLETED)
    (second,) = as_completed([pool.submit(refund)])
    return 500 if left else max(done.pop().result(), second.result())


def thread_of_a_thread() -> int:
    found: list[int] = []

    def outer() -> None:
        with ThreadPoolExecutor() as pool:
            found.append(pool.submit(charge).result())
        found.append(refund())

    worker = threading.Thread(target=outer)
    worker.start()
    worker.join()
    return max(found)


def threads_that_ask_nothing() -> int:
    with ThreadPoolExecutor() as pool:
        sums = [pool.submit(sum, range(n)) for n in range(4)]
        status = charge()
        return status if [one.result() for one in sums] == [0, 0, 1, 3] else 500


async def function_handed_to_an_executor() -> int:
    loop = asyncio.get_running_loop()
    first = await loop.run_in_executor(None, charge)
    with ThreadPoolExecutor() as pool:
        return max(first, await loop.run_in_executor(pool, refund))


async def function_in_a_thread_of_the_loop() -> int:
    return max(await asyncio.to_thread(charge), await asyncio.to_thread(refund))


def error_of_a_thread() -> int:
    with ThreadPoolExecutor() as pool:
        failing = pool.submit(int, "one")
    return charge() if isinstance(failing.exception(), ValueError) else 500


def two_at_the_same_time() -> int:
    with ThreadPoolExecutor() as pool:
        return max(pool.map(charge, ["one", "one"]))


def several_that_only_compute() -> int:
    with ThreadPoolExecutor() as pool:
        return charge() if list(pool.map(abs, range(-9, 0))) == [*range(9, 0, -1)] else 500


FOLLOWED = [
    two_at_the_same_time, several_that_only_compute,
    thread_that_is_joined, future_whose_result_is_taken, pool_that_is_left, map_of_one, futures_that_are_waited_for,
    thread_of_a_thread, threads_that_ask_nothing, function_handed_to_an_executor, function_in_a_thread_of_the_loop, error_of_a_thread,
]  # fmt: skip


@pytest.mark.parametrize("handler", FOLLOWED, ids=lambda one: one.__name__)
def test_a_thread_that_is_waited_for_is_followed(lab: Lab, handler):
    verdict = explored(lab, handler)
    assert verdict.closed, str(verdict)
    assert not verdict.counterexamples, str(verdict)


@pytest.mark.parametrize("handler", [thread_of_a_thread, two_at_the_same_time])
def test_real_processes_have_the_same_threads(handler):
    lab = Lab("threads", closer=0)
    verdict = explored(lab, handler)
    assert verdict.word == "HOLDS", str(verdict)


@pytest.mark.parametrize(("workers", "orders"), [(3, 6), (2, 4), (1, 1)])
def test_each_order_is_explored_in_which_calls_of_map_can_get_through(
    lab: Lab, workers: int, orders: int
):
    """With as many workers as calls all orders; with one, only that in which they were given."""
    found: set[tuple[str, ...]] = set()

    def handler() -> int:
        with ThreadPoolExecutor(workers) as pool:
            return max(pool.map(charge, ["one", "two", "three"]))

    def look(w) -> bool:
        found.add(tuple(one.key for one in w.stripe.charges))
        return True

    lab.stripe()
    lab.user(handler, again=lambda answer: False)
    lab.told(200, "seen", look)
    assert lab.explore(survived=0, overlap=1, in_flight=0).closed
    assert len(found) == orders


# ── refused ──────────────────────────────────────────────────────────────────────────────────────


def twice_in_each(key: str) -> int:
    return max(charge(key), refund())


def two_with_two_calls_each() -> int:
    with ThreadPoolExecutor() as pool:
        return max(pool.map(twice_in_each, ["one", "one"]))


def acting_between_results() -> int:
    with ThreadPoolExecutor() as pool:
        return max(refund() + status for status in pool.map(charge, ["one", "one"]))


def more_than_there_are_orders_for() -> int:
    with ThreadPoolExecutor() as pool:
        return max(pool.map(charge, ["one"] * 5))


def beside_its_starter() -> int:
    worker = threading.Thread(target=charge)
    worker.start()
    status = refund()
    worker.join()
    return status


def never_waited_for() -> int:
    threading.Thread(target=charge).start()
    return 200


def pool_that_is_left_alone() -> int:
    pool = ThreadPoolExecutor()
    pool.submit(charge)
    pool.shutdown(wait=False)
    return 200


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (beside_its_starter, "a thread acts beside others"),
        (never_waited_for, "a thread acts beside others"),
        (pool_that_is_left_alone, "a thread acts beside others"),
        (acting_between_results, "a thread acts beside others"),
        (two_with_two_calls_each, "ask more than once each"),
        (more_than_there_are_orders_for, "5 threads act beside each other"),
    ],
)
def test_a_thread_beside_others_is_refused(lab: Lab, handler, reason: str):
    verdict = explored(lab, handler)
    assert verdict.word == "REFUSED", str(verdict)
    assert reason in verdict.reason


def test_a_thread_that_waits_for_its_starter_is_refused(lab: Lab, monkeypatch):
    monkeypatch.setattr(threads, "_PATIENCE", 0.2)
    tasks: queue.Queue[str] = queue.Queue()

    def handler() -> int:
        worker = threading.Thread(target=lambda: tasks.get() and charge())
        worker.start()
        tasks.put("now")
        worker.join()
        return 200

    verdict = explored(lab, handler)
    tasks.put("")  # it was left waiting
    assert verdict.word == "REFUSED", str(verdict)
    assert "waits for the one that has started it" in verdict.reason
