from __future__ import annotations

import pytest

from troth.lab.promise import Promise
from troth.lab.report import render
from troth.lab.show.document import Numbers
from troth.lab.show.words import enough
from troth.lab.verdict import Counterexample, Line, Verdict


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
            word="lost answer",
        ),
        Line("signup", "answers", "→ 200", "", attempt=2),
    )
    example = Counterexample(promise, ("lost answer",), lines, ("stripe.charges + id=ch_1",))
    verdict = Verdict(
        "VIOLATED", "signup", counterexamples=(example,), counts=Numbers(states=5, first_s=0.1)
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
