"""kill -9 of a worker with a thousand runs in flight."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import datetime

import pytest

from tests.chaos.processes import Site, Worker
from tests.chaos.program import CHARGE_TIMEOUT_S
from tests.harness.postgres import wait_until
from troth.effect.model import MARGIN_S, SEND_WITHIN_S
from troth.workflow.definition import Workflow

log = logging.getLogger("chaos")

RUNS = 1000
# Other tests that run beside this one take their share of the machine.
AFTER_EXPIRY_S = 6.0 if "PYTEST_XDIST_WORKER" in os.environ else 3.0


async def start_orders(shop: Site, count: int, *, form: str = "order") -> None:
    program = shop.program()
    order: Workflow[[int], str] = getattr(program, form)
    async with program.troth.client():
        await asyncio.gather(*(program.troth.start(order, n) for n in range(count)))


async def test_a_peer_completes_a_thousand_runs_within_three_seconds_of_the_lease(
    shop: Site, record_property: Callable[[str, object], None]
) -> None:
    default_lease = {"lease_s": 5.0, "concurrency": 2 * RUNS}
    victim = await asyncio.to_thread(shop.worker, gated=True, options=default_lease)
    await start_orders(shop, RUNS)
    await asyncio.to_thread(
        wait_until, lambda: charged(shop) == RUNS, "all runs have been charged and are packing"
    )
    peer = await asyncio.to_thread(shop.worker, options=default_lease)
    await asyncio.to_thread(
        wait_until,
        lambda: shop.value("SELECT beat FROM {s}.worker WHERE id = %s", peer.id) >= 2,
        "the peer knows its peers",
    )
    victim.kill9()
    expires_at = lease_end(shop, victim)
    await asyncio.to_thread(shop.wait_ended, RUNS, 20.0)

    took_s = float(
        shop.value("SELECT extract(epoch FROM max(ended_at) - %s) FROM {s}.run_history", expires_at)
    )
    record_property("seconds after the lease had expired", took_s)
    log.info("%d runs completed %.2f s after the lease had expired", RUNS, took_s)
    assert 0 < took_s < AFTER_EXPIRY_S
    assert shop.rows("SELECT state::text, claim, count(*) FROM {s}.run_history GROUP BY 1, 2") == [
        ("succeeded", 2, RUNS)
    ]
    assert shop.workers() == {peer.id}
    assert_each_once(shop, RUNS)


async def test_a_peer_completes_def_workflows_that_were_killed(shop: Site) -> None:
    runs = 50
    victim = await asyncio.to_thread(shop.worker, gated=True)
    await start_orders(shop, runs, form="plain_order")
    await asyncio.to_thread(
        wait_until, lambda: charged(shop) == runs, "all runs have been charged and are packing"
    )
    await asyncio.to_thread(shop.worker)
    victim.kill9()
    await asyncio.to_thread(shop.wait_ended, runs, 20.0)
    assert shop.rows("SELECT state::text, claim, count(*) FROM {s}.run_history GROUP BY 1, 2") == [
        ("succeeded", 2, runs)
    ]
    assert_each_once(shop, runs)


@pytest.mark.parametrize("form", ["order", pytest.param("plain_order", marks=pytest.mark.slow)])
async def test_an_effect_in_flight_at_the_kill_is_sent_again_only_when_it_cannot_land_any_more(
    shop: Site, form: str
) -> None:
    shop.arm("call")  # freezes after the effect has really happened, before anybody knows
    victim = await asyncio.to_thread(shop.worker)
    await start_orders(shop, 1, form=form)
    await asyncio.to_thread(victim.wait_frozen)
    await asyncio.to_thread(shop.worker)
    victim.kill9()
    await asyncio.to_thread(shop.wait_dead, victim.id)
    taken_over_at = shop.value("SELECT clock_timestamp()")
    await asyncio.to_thread(shop.wait_ended, 1)

    first, second = shop.witness()
    assert (first["fence"], first["attempt"]) == (1, 1)
    assert (second["fence"], second["attempt"]) == (2, 2)
    assert first["key"] == second["key"]
    # Less a second in which we may have noticed the takeover late.
    in_flight_s = SEND_WITHIN_S + CHARGE_TIMEOUT_S + MARGIN_S
    sent_again = (
        "SELECT extract(epoch FROM at - %s) FROM {s}.journal WHERE kind = 1 AND attempt = 2"
    )
    assert shop.value(sent_again, taken_over_at) > in_flight_s - 1


def lease_end(shop: Site, dead: Worker) -> datetime:
    """When the lease of a worker that is not taken over yet expires, by the database's clock."""
    last = "SELECT beat_at + lease_s * interval '1 second' FROM {s}.worker WHERE id = %s"
    end: datetime = shop.value(last, dead.id)
    return end


def charged(shop: Site) -> int:
    return int(shop.value("SELECT count(*) FROM {s}.journal WHERE path = 'charge' AND kind = 2"))


def assert_each_once(shop: Site, runs: int) -> None:
    """Every order has one row in the user's table, and was charged once."""
    assert shop.rows("SELECT count(*), count(DISTINCT n) FROM reservation") == [(runs, runs)]
    assert len(shop.calls()) == runs
    assert set(shop.calls().values()) == {1}
