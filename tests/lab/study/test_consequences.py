"""The map: what one fault at each step leads to, of handlers whose map can be said beforehand."""

from __future__ import annotations

import smtplib

import pytest

from tests.lab.corpus.shop import ORDERS, charge, connect, order, paid
from tests.lab.study.shops import verdict
from troth.lab import Lab, never_again
from troth.lab.show.document import Cell, Map


def buy() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"]))
    return 200


def buy_with_a_key() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    return 200


def note_and_mail() -> int:
    db = connect()
    db.execute("INSERT INTO orders (email) VALUES ('ada@example.com') ON CONFLICT DO NOTHING")
    db.commit()
    with smtplib.SMTP("mail") as server:
        server.sendmail("shop@example.com", ["ada@example.com"], "Subject: thanks\r\n\r\nthanks")
    return 200


def mapped(handler, *, again=None, accept: bool = False, closer: float = 60) -> Map:
    lab = Lab(handler.__name__, closer=closer)
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    box = lab.mailbox()
    lab.user(handler, overlap=1, **({"again": again} if again else {}))
    lab.always("charged at most once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    if accept:
        lab.accept("thanks may repeat", sink=box, because="harmless")
    found = lab.explore(confirm=False, in_flight=0, expiry=False, survived=1).map
    assert found is not None
    return found


def cell(found: Map, op: str, fault: str) -> Cell:
    (row,) = [row for row in found.rows if row.op.startswith(op)]
    return next(one for one in row.cells if one.fault == fault)


def test_money_where_a_charge_may_be_made_twice():
    found = mapped(buy)
    lost = cell(found, "stripe POST", "lost answer")
    assert (lost.consequence, lost.costs) == ("money", "49 EUR")
    assert lost.promises == ("charged at most once",)
    assert lost.detail.startswith("2 stripe.charges, not 1")
    assert cell(found, "stripe POST", "crash").consequence == "kept"  # it had not been sent
    assert cell(found, "UPDATE", "crash").consequence == "money"
    assert cell(found, "the answer", "lost response").consequence == "kept"
    assert found.clean == "Without any fault it ends with 1 db.orders, 1 stripe.charges."


def test_with_a_key_everything_is_kept():
    found = mapped(buy_with_a_key)
    assert {one.consequence for row in found.rows for one in row.cells} == {"kept"}
    assert set(found.faults()) == {
        "crash", "lost answer", "timeout", "error 500", "refused connection", "busy database", "lost response"
    }  # fmt: skip


def test_whoever_does_not_ask_again_is_left_with_half_of_it_or_in_doubt():
    found = mapped(note_and_mail, again=never_again)
    assert cell(found, "mail to", "crash").consequence == "half-done"
    assert cell(found, "mail to", "crash").detail == "0 mailbox.messages, not 1"
    assert cell(found, "mail to", "lost answer").consequence == "in doubt"
    assert cell(found, "mail to", "lost answer").told == "500"


@pytest.mark.parametrize(("accept", "consequence"), [(False, "doubled"), (True, "kept")])
def test_a_second_mail_is_doubled_unless_it_is_accepted(accept, consequence):
    found = mapped(note_and_mail, accept=accept)
    assert cell(found, "mail to", "lost answer").consequence == consequence


def customer_without_a_use() -> int:
    """An object at the provider that costs nothing and nobody uses."""
    import httpx

    db = connect()
    customer = httpx.post("https://api.stripe.com/v1/customers", data={"email": "a@b.c"}).json()[
        "id"
    ]
    db.execute(
        "INSERT INTO orders (email, key) VALUES ('a@b.c', ?) ON CONFLICT DO NOTHING", (customer,)
    )
    db.commit()
    return 200


def test_what_can_be_taken_back_is_litter():
    assert (
        cell(mapped(customer_without_a_use), "stripe POST", "lost answer").consequence == "litter"
    )


def test_of_two_ways_to_lose_an_answer_the_worse_one_is_told():
    """A timeout is asked again, a 500 is taken for a refusal: both are lost answers."""
    found = verdict("error_taken_for_a_refusal").map
    assert found is not None
    assert cell(found, "stripe POST", "lost answer").consequence == "told a lie"


def test_a_map_that_there_is_no_time_for_says_how_far_it_got():
    found = mapped(buy, closer=1e-9)
    assert found.rows == ()
    assert found.partial.startswith("only the first 0 of ")
