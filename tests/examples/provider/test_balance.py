"""Money at the provider: every movement is in the balance, and what leaves it arrives at the bank once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from examples.signup.provider.resources.balance import available_on, fee_of
from examples.signup.provider.resources.states import DAY
from tests.examples.provider.bank import Bank
from tests.examples.provider.process import Process
from tests.harness.postgres import wait_until

# A provider with a bank: each test has its own, since payouts take all that there is.
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def bank(tmp_path) -> Iterator[Bank]:
    bank = Bank(tmp_path)
    yield bank
    bank.close()


@pytest.fixture
def paying(tmp_path, bank: Bank) -> Iterator[Process]:
    """A provider that pays out to that bank."""
    process = Process(
        "examples.signup.provider", tmp_path / "data.sqlite", more=["--bank", bank.url]
    )
    yield process
    process.close()


@pytest.fixture
def take(paying: Process, connect) -> Callable[[int], stripe.PaymentIntent]:
    return lambda amount: charge(connect(paying), amount)


def charge(client: stripe.StripeClient, amount: int, **more: Any) -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(
        {
            "amount": amount,
            "currency": "eur",
            "payment_method": "pm_card_visa",
            "confirm": True,
            **more,
        }
    )


def movements(client: stripe.StripeClient, **params: Any) -> list[stripe.BalanceTransaction]:
    return list(client.v1.balance_transactions.list({"limit": 100, **params}).auto_paging_iter())


def balance(client: stripe.StripeClient) -> tuple[int, int]:
    """What is available, and what is pending."""
    now = client.v1.balance.retrieve()
    return now.available[0].amount, now.pending[0].amount


def until(client: stripe.StripeClient, status: str, count: int = 1) -> list[stripe.Payout]:
    def found() -> list[stripe.Payout]:
        return client.v1.payouts.list({"status": status}).data

    wait_until(lambda: len(found()) == count, f"{count} payouts that are {status}")
    return found()


@pytest.mark.parametrize(
    ("amount", "fee"), [(900, 39), (4900, 99), (100, 27), (33, 25), (34, 26), (1, 25)]
)
def test_a_fee_is_a_half_more_than_one_in_a_hundred_and_25_cents(amount: int, fee: int) -> None:
    assert fee_of(amount) == fee


def test_money_is_available_at_the_second_midnight() -> None:
    assert available_on(10 * DAY) == available_on(11 * DAY - 1) == 12 * DAY


def test_a_charge_moves_its_amount_less_the_fee(client: stripe.StripeClient) -> None:
    intent = charge(client, 4900)
    taken = client.v1.charges.retrieve(
        str(intent.latest_charge), {"expand": ["balance_transaction"]}
    )
    movement = taken.balance_transaction

    assert isinstance(movement, stripe.BalanceTransaction)
    assert (movement.amount, movement.fee, movement.net) == (4900, 99, 4801)
    assert (movement.type, movement.reporting_category, movement.status) == (
        "charge",
        "charge",
        "pending",
    )
    assert [one.id for one in movements(client, source=taken.id)] == [movement.id]
    assert [one.amount for one in movement.fee_details] == [99]


def test_what_is_declined_or_only_held_moves_nothing(client: stripe.StripeClient) -> None:
    before = movements(client)
    with pytest.raises(stripe.CardError):
        charge(client, 4900, payment_method="pm_card_chargeDeclined")
    held = charge(client, 4900, capture_method="manual")
    assert movements(client) == before

    client.v1.payment_intents.capture(held.id, {"amount_to_capture": 1000})
    [newest, *rest] = movements(client)
    assert (newest.amount, newest.fee, rest) == (1000, 40, before)


def test_a_refund_leaves_the_fee(client: stripe.StripeClient) -> None:
    intent = charge(client, 900)
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    [movement] = movements(client, source=refund.id)

    assert movement.id == refund.balance_transaction
    assert (movement.amount, movement.fee, movement.net) == (-500, 0, -500)
    assert (movement.type, movement.status) == ("refund", "available")


def test_without_a_bank_nothing_is_paid_out(own: Process, connect) -> None:
    client = connect(own)
    charge(client, 900)
    assert balance(client) == (0, 861)
    own.advance(3 * DAY)
    assert balance(client) == (861, 0)
    assert client.v1.payouts.list({}).data == []


def test_a_payout_takes_what_is_available_to_the_bank_and_lists_it(
    paying: Process, bank: Bank, connect, take
) -> None:
    client = connect(paying)
    first, second = take(4900), take(900)
    refund = client.v1.refunds.create({"payment_intent": second.id})
    paying.advance(2 * DAY)
    [payout] = until(client, "in_transit")
    wait_until(bank.credits, "the wire")
    later = take(900)
    net = 4801 + 861 - 900

    assert (payout.amount, payout.automatic, balance(client)) == (net, True, (0, 861))
    inside = movements(client, payout=payout.id)
    assert {one.source for one in inside} == {
        first.latest_charge,
        second.latest_charge,
        refund.id,
        payout.id,
    }
    assert sum(one.net for one in inside) == 0
    [wire] = bank.credits()
    assert (wire["amount"], wire["currency"], wire["end_to_end_id"]) == (net, "EUR", payout.id)
    paying.advance(DAY)
    assert [one.id for one in until(client, "paid")] == [payout.id]
    kinds = [event.type for event in client.v1.events.list({"limit": 100}).data]
    assert kinds.index("payout.paid") < kinds.index("payout.created")
    assert later.latest_charge in {one.source for one in movements(client)}


def test_what_the_bank_refuses_comes_back_and_goes_out_with_the_next(
    paying: Process, bank: Bank, connect, take
) -> None:
    client = connect(paying)
    bank.behaves(closed=True)
    take(4900)
    paying.advance(2 * DAY)
    [failed] = until(client, "failed")
    assert failed.failure_message is not None
    assert "closed" in failed.failure_message
    assert balance(client) == (4801, 0)
    [back] = movements(client, type="payout_failure")
    assert (back.net, back.reporting_category) == (4801, "payout_reversal")
    assert back.id == failed.failure_balance_transaction

    bank.behaves(closed=False)
    paying.advance(DAY)
    wait_until(bank.credits, "the next wire")
    [wire] = bank.credits()
    assert (wire["amount"], balance(client)) == (4801, (0, 0))
    assert wire["end_to_end_id"] != failed.id


def test_a_wire_whose_answer_is_lost_arrives_once(
    paying: Process, bank: Bank, connect, take
) -> None:
    """The bank is killed before the wire, and the provider after it has been sent and before it knows."""
    client = connect(paying)
    take(4900)
    bank.kill()
    paying.advance(2 * DAY)
    [payout] = until(client, "in_transit")
    wait_until(lambda: paying.wires()["tried"], "an attempt")
    bank.start()
    bank.post(
        "/_mock/credits", wire(payout)
    )  # the attempt that was under way has arrived after all
    paying.advance(DAY)
    until(client, "paid")

    assert [one["end_to_end_id"] for one in bank.credits()] == [payout.id]


KINDS = ("charge", "refund", "balance_transaction", "payout")


def wire(payout: stripe.Payout) -> dict[str, Any]:
    return {"account": "SIGNUP", "amount": payout.amount, "end_to_end_id": payout.id}


def test_money_is_conserved(paying: Process, bank: Bank, connect) -> None:
    """Whatever happens: what came in less what went back and what was kept is in the balance, on its way, or at the bank."""
    client, draw = connect(paying), random.Random(7)
    taken: list[stripe.PaymentIntent] = []
    for _ in range(40):
        match draw.choice(["charge", "charge", "refund", "night", "closed", "open"]):
            case "charge":
                taken.append(charge(client, draw.randint(100, 9999)))
            case "refund" if taken:
                intent = taken.pop(draw.randrange(len(taken)))
                part = draw.randint(1, intent.amount)
                client.v1.refunds.create({"payment_intent": intent.id, "amount": part})
            case "night":
                paying.advance(DAY)
                wait_until(lambda: not paying.wires()["waiting"], "the answers of the bank")
            case "closed":
                bank.behaves(closed=True)
            case "open":
                bank.behaves(closed=False)
    bank.behaves(closed=False)
    paying.advance(5 * DAY)
    wait_until(lambda: not paying.wires()["waiting"], "the answers of the bank")

    truth = {kind: [one["object"] for one in paying.truth(kind)] for kind in KINDS}
    came = sum(one["amount_captured"] for one in truth["charge"])
    back = sum(one["amount"] for one in truth["refund"])
    kept = sum(one["fee"] for one in truth["balance_transaction"])
    sent = sum(one["amount"] for one in truth["payout"] if one["status"] != "failed")
    assert came > back + kept
    assert came - back - kept - sent == sum(balance(client))
    assert sum(one["amount"] for one in bank.credits()) == sent
    assert {one["status"] for one in truth["payout"]} >= {"paid", "failed"}
