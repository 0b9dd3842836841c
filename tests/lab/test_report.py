from __future__ import annotations

import pytest

from troth.lab.describe import described, row
from troth.lab.model import Op
from troth.lab.promise import Promise
from troth.lab.report import enough, render
from troth.lab.verdict import Counterexample, Counts, Line, Verdict


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ((), "No fault is needed."),
        (("crash",), "One crash is enough."),
        (("crash", "crash"), "Two crashes are enough."),
        (("lost answer", "crash"), "One lost answer and one crash are enough."),
        (("timeout",) * 9, "9 timeouts are enough."),
    ],
)
def test_how_little_it_takes(faults, sentence):
    assert enough(faults) == sentence


def test_a_counterexample_in_lanes():
    promise = Promise("always", "charged once", bool, "money", "49 EUR")
    lines = (
        Line(
            "signup",
            "stripe POST /v1/charges: stripe.charges + ch_1",
            "timeout",
            "app.py:7 pay",
            fault=True,
            irreversible=True,
            attempt=1,
        ),
        Line("signup", "answers", "→ 200", "", attempt=2),
    )
    example = Counterexample(promise, ("lost answer",), lines, ("stripe.charges + id=ch_1",))
    verdict = Verdict(
        "VIOLATED", "signup", counterexamples=(example,), counts=Counts(states=5, first=0.1)
    )
    assert render(verdict).splitlines()[2:13] == [
        "  BROKEN  charged once   [money: 49 EUR]",
        "  One lost answer is enough.",
        "",
        "  what happened                                                            │ what the caller was told",
        "  ── attempt 1: signup ────────────────────────────────────────────────────┼──────────────────────────────────────────────",
        "  ✗ stripe POST /v1/charges: stripe.charges + ch_1                         │ timeout",
        "      at app.py:7 pay                                                      │",
        "      ◆ the first step that cannot be taken back                           │",
        "  ── attempt 2: signup ────────────────────────────────────────────────────┼──────────────────────────────────────────────",
        "    answers                                                                │ → 200",
        "",
    ]


def test_secrets_are_left_out():
    assert "hunter2" not in row({"id": 1, "password": "hunter2"})
    body = Op(
        "http",
        "stripe",
        "POST /v1/x",
        ((), (("authorization", "Bearer s"),), b"card=4242&amount=1"),
    )
    assert "4242" not in described(body)
    assert "Bearer" not in described(body)


def test_a_key_is_shown_because_it_explains():
    op = Op("http", "stripe", "POST /v1/x", ((), (("idempotency-key", "order-1"),), b"amount=1"))
    assert described(op) == "stripe POST /v1/x amount=1 key=order-1"
