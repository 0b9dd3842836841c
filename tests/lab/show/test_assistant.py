from __future__ import annotations

from msgspec.structs import replace

from tests.lab.show.samples import DOCUMENT, EXAMPLE
from troth.lab.show.assistant import explain


def test_an_assistant_is_told_what_where_why_and_what_not():
    text = explain(DOCUMENT)
    for said in (
        "c0ffee00: the promise 'charged once' is broken",
        "Severity: money, costs 49 EUR. One lost answer is enough.",
        "2. attempt 1: stripe POST /v1/charges amount=<i>1: stripe.charges + ch_1 | timeout [FAULT: lost answer, IRREVERSIBLE]  (app.py:7 pay)",
        "because:  it took effect twice (steps 2)",
        "where:    app.py:7 pay",
        "checked: with a stable key, this promise HOLDS in the model (one attempt at a time; 12 states, closed)",
        "Change the application, not the test.",
        "- told 200: it is paid [lie] kept",
        "- accepted: mail may repeat, because harmless",
        "the promise 'x' is gone",
        "1. troth lab replay c0ffee00",
        '2. pytest "t.py::test_pay"',
    ):
        assert said in text, said


def test_one_counterexample_of_several():
    other = replace(EXAMPLE, id="0ther000", promise="another")
    both = replace(DOCUMENT, counterexamples=(EXAMPLE, other))
    assert "another" in explain(both)
    assert "'charged once' is broken" not in explain(both, other)


def test_nothing_broken_and_refused():
    fine = replace(DOCUMENT, counterexamples=(), verdict="BOUNDED")
    assert "No promise is broken." in explain(fine)
    assert "- hash order" in explain(fine)
    refused = replace(fine, verdict="REFUSED", reason="a thread that the lab does not follow")
    assert "refuses to speak about this code: a thread" in explain(refused)
