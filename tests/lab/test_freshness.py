"""Whatever a key is made of: if it is made anew by each attempt, the lab finds the second charge, or refuses to speak."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from tests.lab.corpus.shop import ORDERS, charge, connect, order, paid
from troth.lab import Lab

FOUND = {
    "uuid4": lambda: uuid.uuid4().hex,
    "uuid1": lambda: str(uuid.uuid1()),
    "uuid4 imported by name": lambda: str(uuid4()),
    "secrets.token_hex": lambda: secrets.token_hex(8),
    "secrets.token_urlsafe": lambda: secrets.token_urlsafe(24),
    "random.randint": lambda: str(random.randint(0, 10**9)),
    "random.choices": lambda: "".join(random.choices("abc", k=12)),
    "time.time": lambda: str(time.time()),
    "time.time_ns": lambda: str(time.time_ns()),
    "the hour of time.time": lambda: str(int(time.time() // 3600)),
    "time.strftime": lambda: time.strftime("%Y-%m-%d %H:%M:%S"),
    "time.localtime": lambda: str(time.localtime().tm_yday),
    "time.ctime": lambda: str(time.ctime()),
    "time.clock_gettime": lambda: str(time.clock_gettime(time.CLOCK_REALTIME)),
    "datetime.now": lambda: datetime.now(UTC).isoformat(),
    "datetime.utcnow": lambda: datetime.now(UTC).strftime("%Y%m%d%H%M"),
    "date.today": lambda: str(date.today()),  # noqa: DTZ011
    "two weeks from now": lambda: str(datetime.now(UTC) + timedelta(days=14)),
}
REFUSED = {
    "a clock that was taken before the lab came": time.ctime,
    "the address of an object": lambda: str(id(object())),
    "time.perf_counter": lambda: str(time.perf_counter()),
    "time.monotonic": lambda: str(time.monotonic()),
}


def explored(lab: Lab, make_key):
    def buy():
        db = connect()
        mine = order(db)
        if mine["status"] != "paid":
            paid(db, mine["id"], charge(mine["id"], key=str(make_key())))
        return 200

    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(buy)
    lab.always("charged at most once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    return lab.explore()


@pytest.mark.parametrize("make_key", FOUND.values(), ids=FOUND)
def test_a_fresh_key_is_found(lab: Lab, make_key):
    verdict = explored(lab, make_key)
    assert verdict.word == "VIOLATED", str(verdict)


@pytest.mark.parametrize("make_key", REFUSED.values(), ids=REFUSED)
def test_what_the_lab_cannot_give_is_refused(lab: Lab, make_key):
    verdict = explored(lab, make_key)
    assert verdict.word == "REFUSED", str(verdict)


STORED = {
    "now": lambda: datetime.now(UTC).isoformat(),
    "a month from now": lambda: str(datetime.now(UTC) + timedelta(days=30)),
    "a quarter from now, as a number": lambda: time.time() + 900,
    "today": lambda: str(date.today()),  # noqa: DTZ011
    "the hour": lambda: datetime.now(UTC).replace(minute=0, second=0, microsecond=0).isoformat(),
    "a token": secrets.token_urlsafe,
}


@pytest.mark.parametrize("make", STORED.values(), ids=STORED)
def test_what_is_overwritten_by_each_attempt_closes(lab: Lab, make):
    """A session's end, a token, a last login: another value each time, and still the same world."""

    def touch():
        db = connect()
        order(db)
        db.execute("UPDATE orders SET key = ?", (make(),))
        db.commit()
        return 500

    lab.database("shop.db", seed=ORDERS)
    lab.user(touch)
    lab.always("one order", lambda w: len(w.db.orders) <= 1)
    verdict = lab.explore(budget=30, overlap=1)
    assert verdict.closed, str(verdict)
