from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.lab.show.samples import ASKED
from troth.lab.show.asked import digest_of
from troth.lab.show.document import Acting, Bounds, Excuse, Promised
from troth.lab.show.weaker import weakened

CHARGED, PAID = ASKED.promises


def test_the_same_is_no_weaker():
    assert weakened(ASKED, ASKED) == ()


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (replace(ASKED, promises=(PAID,)), "the promise 'charged once' (always) is gone"),
        (
            replace(ASKED, promises=(replace(CHARGED, kind="at_rest"), PAID)),
            "the promise 'charged once' was always, and is at_rest",
        ),
        (
            replace(ASKED, promises=(CHARGED, replace(PAID, status=201))),
            "the promise 'it is paid' was told 200, and is told 201",
        ),
        (
            replace(ASKED, promises=(replace(CHARGED, severity="repeat"), PAID)),
            "the promise 'charged once' is a matter of repeat, and was one of money",
        ),
        (
            replace(ASKED, promises=(replace(CHARGED, digest="d9"), PAID)),
            "the promise 'charged once' tests something else than before: look whether it still says what it is called",
        ),
        (
            replace(ASKED, excuses=(*ASKED.excuses, Excuse("bounded", "jobs.attempts <= 3"))),
            "new: bounded jobs.attempts <= 3",
        ),
        (
            replace(ASKED, excuses=(*ASKED.excuses, Excuse("accepted", "loss", "so what"))),
            "new: accepted loss, because so what",
        ),
        (replace(ASKED, bounds=Bounds(1, 2, 1, True, 60)), "errors that one attempt survives: 1, and were 2"),
        (replace(ASKED, bounds=Bounds(2, 1, 1, True, 60)), "attempts alive at once: 1, and were 2"),
        (replace(ASKED, bounds=Bounds(2, 2, 0, True, 60)), "effects that land late: 0, and were 1"),
        (replace(ASKED, bounds=Bounds(2, 2, 1, False, 60)), "keys do not expire any more"),
        (replace(ASKED, actors=()), "nobody asks pay any more"),
        (replace(ASKED, actors=(Acting("pay", 1),)), "pay: at most 1 attempts alive at once, and were 2"),
        (replace(ASKED, actors=(Acting("pay", 2, 60.0),)), "pay: whoever asks gives up after 60 s"),
    ],
)  # fmt: skip
def test_each_way_of_asking_for_less_is_told(now, line):
    assert weakened(ASKED, now) == (line,)


def test_what_is_stronger_is_not_told():
    more = replace(
        ASKED,
        actors=(*ASKED.actors, Acting("refund", 1)),
        promises=(*ASKED.promises, Promised("always", "new", "lost")),
        excuses=(),
        bounds=Bounds(3, 3, 2, expiry=True, budget_s=1),
    )
    assert weakened(ASKED, more) == ()


def test_a_promise_is_known_by_what_it_tests_not_by_its_line():
    most = 1

    def one(w):
        return len(w.charges) <= most

    moved = {}
    exec("\n\n\ndef one(w):\n    return len(w.charges) <= 2\n", moved)
    same = {}
    exec("def one(w):\n    return len(w.charges) <= 2\n", same)
    assert digest_of(moved["one"]) == digest_of(same["one"])
    assert digest_of(lambda w: w.charges == 1) != digest_of(lambda w: w.charges == 2)
    assert digest_of(lambda w: w.charges) != digest_of(lambda w: w.payments)
    before = digest_of(one)
    most = 2
    assert digest_of(one) != before
    assert digest_of(len) == ""
