"""A thousand events of a hundred subscriptions: one to three times each, in random order, one in twenty never.

The billing provider sends them to the service, two worker processes apply them, and one of these is killed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.examples.signup.live.running import Service
from tests.harness.postgres import wait_until

SUBSCRIPTIONS = 100
EVENTS = 1000
PATIENCE_S = 120.0
OF_MONEY = ("invoice.finalized", "charge.succeeded")
"""What is booked, of that which happens here."""

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,  # a minute and a half
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("a thousand events"),
    # The SDK hands form data to httpx in a way that httpx has deprecated.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


class Billing:
    """The provider, used as an operator of it would."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, auth=("sk_test_events", ""), timeout=PATIENCE_S
        )

    async def post(self, path: str, **form: Any) -> dict[str, Any]:
        answer = await self._http.post(path, data=form)
        answer.raise_for_status()
        return dict(answer.json())

    async def control(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._http.post(path, json=body)
        answer.raise_for_status()
        return dict(answer.json())

    async def deliveries(self) -> dict[str, Any]:
        return dict((await self._http.get("/_deliveries")).json())

    async def close(self) -> None:
        await self._http.aclose()

    async def live(self, number: int, price: str) -> None:
        """One subscription and what becomes of it: some end, some are paid, some cannot be."""
        card = "pm_card_chargeCustomerFail" if number % 5 == 0 else "pm_card_visa"
        customer = await self.post("/v1/customers", email=f"person{number}@example.com")
        saved = await self.post(f"/v1/payment_methods/{card}/attach", customer=customer["id"])
        made = await self.post(
            "/v1/subscriptions",
            **{
                "customer": customer["id"],
                "default_payment_method": saved["id"],
                "items[0][price]": price,
                "trial_period_days": 14,
            },
        )
        path = f"/v1/subscriptions/{made['id']}"
        for change in range(3):
            await self.post(path, **{"metadata[change]": change})
        match number % 4:
            case 0:
                await self.post(path, trial_end="now")
            case 1:
                answer = await self._http.delete(path)
                answer.raise_for_status()
            case _:
                await self.post(path, cancel_at_period_end="true")


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what, PATIENCE_S)


async def test_ours_is_theirs_whatever_was_delivered(service: Service) -> None:
    billing = Billing(service.stage.provider_url)
    try:
        await billing.control(
            "/_deliveries", {"hold": True, "duplicate": 0.5, "drop": 0.05, "seed": 7}
        )
        [price] = [
            row["id"]
            for row in await service.truth("price")
            if row["object"]["lookup_key"] == "pro"
        ]
        lanes = asyncio.Semaphore(8)

        async def live(number: int) -> None:
            async with lanes:
                await billing.live(number, price)

        async with asyncio.TaskGroup() as group:
            for number in range(SUBSCRIPTIONS):
                group.create_task(live(number))
        made = {row["id"]: row["object"]["status"] for row in await service.truth("subscription")}
        events = await service.truth("event")
        assert len(made) == SUBSCRIPTIONS
        assert len(events) >= EVENTS
        assert len(set(made.values())) >= 4, made

        async with asyncio.TaskGroup() as group:
            group.create_task(
                billing.control("/_deliveries/flush", {"order": "random", "seed": 3, "parallel": 8})
            )
            applied = "SELECT count(*) FROM troth.inbox_event WHERE state = 'applied'"
            await until(lambda: service.rows(applied)[0][0] > 50, "some are applied")
            [(worker,), *_] = service.rows(
                "SELECT name FROM troth.worker WHERE executes ORDER BY id"
            )
            await service.stage.kill(worker)

        told = await billing.deliveries()
        copies = Counter(event["delivered"] for event in told["events"].values())
        open_ones = "SELECT count(*) FROM troth.inbox_event WHERE state IN ('received', 'parked')"
        taken = "SELECT count(*) FROM troth.inbox_event"
        await until(lambda: service.rows(taken)[0][0] >= len(events), "all are taken in")
        await until(lambda: service.rows(open_ones) == [(0,)], "all are settled")
    finally:
        await billing.close()

    ours = dict(service.rows("SELECT id, state FROM troth.machine_object"))
    assert ours == made
    assert set(copies) == {0, 1, 2, 3}, "dropped, once, twice, three times"
    by_sweep = service.rows("SELECT event_id FROM troth.inbox_event WHERE delivered = 0")
    dropped = {ident for ident, event in told["events"].items() if event["dropped"]}
    before = {row["id"] for row in events} - set(told["events"])  # nobody had asked for events
    assert {row[0] for row in by_sweep} == dropped | before
    assert len(dropped) > len(events) / 40
    states = dict(service.rows("SELECT state, count(*) FROM troth.inbox_event GROUP BY state"))
    assert set(states) == {"applied", "ignored"}
    kinds = Counter(row["object"]["type"] for row in events)
    of_subscriptions = sum(
        count for kind, count in kinds.items() if kind.startswith("customer.subscription.")
    )
    assert states["applied"] == of_subscriptions + sum(kinds[kind] for kind in OF_MONEY)
    causes = service.rows("SELECT count(*), count(DISTINCT cause) FROM troth.machine_history")
    assert causes[0][0] == causes[0][1] == of_subscriptions, "each event once"
    booked = "SELECT count(*) FROM troth.ledger_transfer WHERE code = 'payment'"
    assert service.rows(booked) == [(kinds["charge.succeeded"],)], "and each charge, too"
