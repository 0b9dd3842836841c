"""As a test, run by `pytest examples/deliveries`: what is usual fails, the others pass."""

from __future__ import annotations

from datetime import timedelta

import pytest

from examples.deliveries import shop
from troth.lab import Lab


@pytest.mark.parametrize("hook", ["/hook/as-usual", "/hook"])
def test_payments(lab: Lab, hook: str) -> None:
    lab.database("shop.db", seed=shop.TABLES)
    stripe, web = lab.stripe(), lab.http(shop.app)
    lab.user(web.post("/pay"), overlap=1, within=timedelta(hours=1))
    lab.delivers(stripe.events, to=web.post(hook), loses=hook == "/hook")
    if hook == "/hook":
        lab.timer(shop.look)
    lab.at_rest(
        "what was paid is in the books",
        lambda w: len(w.db.payments) == len(w.stripe.charges),
        costs="49 EUR",
    )
    lab.prove()


@pytest.mark.parametrize("path", ["/order/as-usual", "/order"])
def test_shipping(lab: Lab, path: str) -> None:
    lab.database("shop.db", seed=shop.TABLES)
    jobs = lab.queue("jobs")
    shop.Broker.send = jobs.send
    lab.user(lab.http(shop.app).post(path), overlap=1)
    lab.workers(jobs, shop.ship, n=1)
    lab.timer(shop.relay)
    lab.at_rest("every order is shipped", lambda w: all(one.shipped for one in w.db.orders))
    lab.prove()
