"""What becomes of subscriptions as time passes at the provider, who tells of it by events alone: nothing is swept here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.signup.demo import stage
from tests.examples.signup.live.customer import Customer
from tests.examples.signup.live.running import Service
from tests.harness.postgres import wait_until

pytestmark = [
    pytest.mark.slow,  # a minute: the gate has the lost events, the pages and the workflow
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("subscriptions that live"),  # the service is started once
    # The SDK hands form data to httpx in a way that httpx has deprecated.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]

PRO, TRIAL_DAYS, MONTH_DAYS = 4900, 14, 32
FAILS_LATER = "pm_card_chargeCustomerFail"
New = Callable[[str], Customer]


@pytest.fixture(scope="module", autouse=True)
def without_sweep() -> Iterator[None]:
    """Before the service starts: it would find what was not delivered, and hide that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "SWEEP_EVERY_S", 3600.0)
        yield


def why(service: Service, decision: str) -> str:
    """What an operator is told of a decision."""
    troth = Path(sys.executable).with_name("troth")
    url = ["--database-url", service.stage.database_url]
    told = subprocess.run(
        [troth, "access", "why", decision, *url], capture_output=True, text=True, check=True
    )
    return told.stdout


def test_a_trial_ends_and_is_charged_once(customer: New) -> None:
    ada = customer("trial")
    ada.sign_up()
    assert (ada.state(), ada.charges()) == ("trialing", [])
    ada.days_pass(TRIAL_DAYS)
    ada.becomes("active")
    ada.is_told("Your trial has ended")

    assert ada.charges() == [PRO]
    assert ada.mails("A payment failed") == 0


def test_who_owes_pays_with_another_card(customer: New, service: Service) -> None:
    ada = customer("owes")
    ada.sign_up(card=FAILS_LATER)
    ada.days_pass(TRIAL_DAYS)
    ada.becomes("past_due")
    ada.is_told("A payment failed")
    denied = ada.post("/v1/account/plan", {"plan": "starter"})

    assert (denied.status_code, denied.json()["code"]) == (403, "denied")
    assert denied.headers["content-type"] == "application/problem+json"
    assert "first-pay-then-change-the-plan" in why(service, denied.json()["decision"])
    assert ada.charges() == []

    paid = ada.post("/v1/account/card", {"card": "pm_card_visa"})
    assert (paid.status_code, paid.json()) == (200, "paid")
    ada.becomes("active")
    ada.is_told("Your payment has arrived")
    assert ada.charges() == [PRO]
    changed = ada.post("/v1/account/plan", {"plan": "starter"})
    assert (changed.status_code, changed.json()) == (200, "starter")
    assert ada.get("/v1/account").json()["seats"] == 3


def test_a_card_that_is_declined_leaves_the_debt(customer: New) -> None:
    ada = customer("declined")
    ada.sign_up(card=FAILS_LATER)
    ada.days_pass(TRIAL_DAYS)
    ada.becomes("past_due")
    refused = ada.post("/v1/account/card", {"card": FAILS_LATER})

    assert refused.status_code == 422, refused.text
    assert "declined" in refused.json()["detail"]
    assert (ada.state(), ada.charges()) == ("past_due", [])


def test_what_was_paid_for_is_kept_until_it_ends(customer: New) -> None:
    ada = customer("later")
    ada.sign_up(trial=False)
    assert (ada.state(), ada.charges()) == ("active", [PRO])
    answer = ada.post("/v1/account/cancellation")

    assert (answer.status_code, answer.json()) == (200, "ends later")
    assert ada.state() == "active"
    ada.days_pass(MONTH_DAYS)
    ada.becomes("canceled")
    ada.is_told("Your subscription has ended")
    assert ada.charges() == [PRO]


def test_a_trial_that_is_cancelled_costs_nothing(customer: New) -> None:
    ada = customer("regrets")
    ada.sign_up()
    answer = ada.post("/v1/account/cancellation")
    assert (answer.status_code, answer.json()) == (200, "ended")
    ada.becomes("canceled")
    ada.is_told("Your subscription has ended")
    again = ada.post("/v1/account/cancellation")
    ada.days_pass(MONTH_DAYS)

    assert again.status_code == 422
    assert again.json()["detail"] == "the subscription has ended already"
    assert (ada.state(), ada.charges()) == ("canceled", [])


def test_a_closed_account_is_closed(customer: New, service: Service) -> None:
    ada = customer("closes")
    ada.sign_up(trial=False)
    other = Customer(service, "unused")
    other.email = ada.email
    assert other.log_in().status_code == 204, "another session of the same person"
    answer = ada.post("/v1/account/closure")
    # The answer itself needs no session, which has ended with the account: it is what was recorded.
    assert answer.status_code == 200, answer.text
    assert [ada.get("/v1/account").status_code, other.get("/v1/account").status_code] == [401, 401]
    assert ada.log_in().status_code == 401
    assert ada.subscription_at_provider() == "canceled"
    wait_until(lambda: ada.mails("Your subscription has ended"), "the last mail")

    other.sign_up()
    assert other.state() == "trialing"
    accounts = service.rows(
        "SELECT closed_at IS NULL FROM signup.account WHERE email = %s", ada.email
    )
    assert sorted(accounts) == [(False,), (True,)]
    other.close()


@pytest.mark.parametrize("order", ["reverse", "random"])
def test_events_that_come_thrice_and_out_of_order(
    customer: New, service: Service, order: str
) -> None:
    ada = customer(order)
    ada.deliver(duplicate=1, hold=True)
    ada.sign_up(card=FAILS_LATER)
    ada.days_pass(TRIAL_DAYS)
    assert ada.state() == "trialing", "nobody has told us"
    assert ada.flush(order=order, seed=7) > 6
    ada.becomes("past_due")
    ada.post("/v1/account/card", {"card": "pm_card_visa"}).raise_for_status()
    ada.flush(order=order, seed=8, parallel=4)
    ada.becomes("active")
    ada.post("/v1/account/cancellation").raise_for_status()
    ada.days_pass(MONTH_DAYS)
    ada.flush(order=order, seed=9, parallel=4)
    ada.becomes("canceled")
    settle(service)

    assert ada.subscription_at_provider() == ada.state() == "canceled"
    assert ada.charges() == [PRO]
    for subject in ("A payment failed", "Your payment has arrived", "Your subscription has ended"):
        assert ada.mails(subject) == 1, subject
    assert ada.mails("Your trial has ended") == 0
    [(seen, ids)] = service.rows("SELECT count(*), count(DISTINCT event_id) FROM troth.inbox_event")
    assert seen == ids
    assert service.rows("SELECT event_id FROM troth.inbox_conflict") == []
    bad = "SELECT type, reason FROM troth.inbox_event WHERE state = 'quarantined'"
    assert service.rows(bad) == []
    assert "Traceback" not in (service.stage.logs / "service.log").read_text()


def settle(service: Service) -> None:
    """Nothing is left to be applied, and nothing to be sent."""
    waiting = (
        "SELECT (SELECT count(*) FROM troth.inbox_event WHERE state IN ('received', 'parked')), "
        "(SELECT count(*) FROM troth.outbox_delivery WHERE state NOT IN ('delivered', 'dead'))"
    )
    wait_until(lambda: service.rows(waiting) == [(0, 0)], "an idle system")
