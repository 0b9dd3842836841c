"""No event is ever delivered. The provider's own list has them, and it is read every few seconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.examples.signup.live.customer import Customer
from tests.examples.signup.live.running import Service

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("events that are lost"),
    # The SDK hands form data to httpx in a way that httpx has deprecated.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


@pytest.mark.slow
def test_the_sweep_finds_what_was_lost(
    customer: Callable[[str], Customer], service: Service
) -> None:
    ada = customer("lost")
    ada.deliver(drop=1)
    ada.sign_up(card="pm_card_chargeCustomerFail")
    ada.days_pass(14)
    ada.becomes("past_due")
    ada.is_told("A payment failed")
    ada.post("/v1/account/card", {"card": "pm_card_visa"}).raise_for_status()
    ada.becomes("active")
    ada.is_told("Your payment has arrived")

    found = service.rows("SELECT DISTINCT found_by FROM troth.inbox_event")
    assert found == [("sweep",)]
    assert ada.charges() == [4900]
    assert ada.mails("A payment failed") == ada.mails("Your payment has arrived") == 1
    # What is delivered after all is known already.
    ada.deliver()
    ada.post("/v1/account/cancellation").raise_for_status()
    ada.days_pass(32)
    ada.becomes("canceled")
    ada.is_told("Your subscription has ended")
    assert ada.mails("Your subscription has ended") == 1
