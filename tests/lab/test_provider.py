from __future__ import annotations

from urllib.parse import urlencode

import msgspec
import pytest

from tests.lab.bank import Bank
from troth.lab import LabError, effect, read
from troth.lab.model import Op
from troth.lab.stripe import Stripe


def post(provider, part, path, key=None, **fields):
    headers = (("idempotency-key", key),) if key else ()
    op = Op("http", provider.name, f"POST {path}", ((), headers, urlencode(fields).encode()))
    part, seen = provider.perform(part, op)
    return part, seen.value[0], msgspec.json.decode(seen.value[2])


def get(provider, part, path, **query):
    op = Op("http", provider.name, f"GET {path}", (tuple(query.items()), (), b""))
    after, seen = provider.perform(part, op)
    assert after == part, "a read changes nothing"
    return seen.value[0], msgspec.json.decode(seen.value[2])


def test_the_same_key_gets_the_first_answer_and_does_nothing():
    stripe = Stripe()
    part, _, first = post(stripe, stripe.initial(), "/v1/charges", key="a", amount="1")
    again, status, second = post(stripe, part, "/v1/charges", key="a", amount="1")
    assert (status, second) == (200, first)
    assert again == part


def test_another_key_is_another_charge():
    stripe = Stripe()
    part, _, _ = post(stripe, stripe.initial(), "/v1/charges", key="a", amount="1")
    part, _, _ = post(stripe, part, "/v1/charges", key="b", amount="1")
    assert [one.id for one in stripe.view(part).charges] == ["ch_1", "ch_2"]


def test_a_known_key_with_other_parameters_is_refused():
    stripe = Stripe()
    part, _, _ = post(stripe, stripe.initial(), "/v1/charges", key="a", amount="1")
    after, status, _ = post(stripe, part, "/v1/charges", key="a", amount="2")
    assert status == 400
    assert after == part


def test_reads_filter():
    stripe = Stripe()
    part, _, _ = post(stripe, stripe.initial(), "/v1/customers", email="a@b.c")
    part, _, _ = post(stripe, part, "/v1/customers", email="d@e.f")
    assert [one["id"] for one in get(stripe, part, "/v1/customers", email="d@e.f")[1]["data"]] == [
        "cus_2"
    ]


def test_a_charge_is_refunded_once():
    stripe = Stripe()
    part, _, charge = post(stripe, stripe.initial(), "/v1/charges", amount="1")
    part, status, _ = post(stripe, part, "/v1/refunds", charge=charge["id"])
    assert status == 200
    assert post(stripe, part, "/v1/refunds", charge=charge["id"])[1] == 400


def test_a_key_is_known_per_path_if_so_declared():
    bank = Bank()
    part, _, _ = post(bank, bank.initial(), "/payouts", key="k", amount="1")
    part, status, _ = post(bank, part, "/refunds", key="k", amount="1")
    assert status == 201
    assert bank.view(part).refunds


def test_an_answer_that_is_not_kept_is_given_anew():
    bank = Bank()
    part, status, _ = post(bank, bank.initial(), "/payouts", key="k", amount="0")
    assert status == 422
    assert post(bank, part, "/payouts", key="k", amount="5")[1] == 201


def test_names_in_a_route_are_matched():
    bank = Bank()
    part, _, made = post(bank, bank.initial(), "/payouts", amount="1")
    assert get(bank, part, f"/payouts/{made['id']}")[0] == 200
    assert get(bank, part, "/payouts/other")[0] == 404


def test_code_is_pure_over_plain_data():
    """The same state and request give the same bytes: that is what makes a world comparable."""
    bank = Bank()
    one, other = bank.initial(), bank.initial()
    for key in ("a", "b"):
        one, _, _ = post(bank, one, "/payouts", key=key, amount="1")
        other, _, _ = post(bank, other, "/payouts", key=key, amount="1")
    assert one == other


def test_a_route_that_is_none_is_an_error_of_the_test():
    with pytest.raises(LabError, match="METHOD /path"):
        effect("payouts")
    with pytest.raises(LabError, match="lagging"):
        read("GET /payouts", lag=True)
