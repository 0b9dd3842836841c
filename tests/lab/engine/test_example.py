"""A program on troth under the lab, as `docs/lab/troth.md` shows it."""

from __future__ import annotations

from tests.lab.engine.shop import Counter, pay_once, troth
from troth.lab import Lab


def test_charged_once_or_a_person_is_asked(lab: Lab, database_url: str) -> None:
    program = lab.troth(troth, database_url, workers=1, lost_commits=False)
    program.starts(pay_once, "49", key="order-7")
    bank = lab.provider(Counter)
    lab.always("charged at most once", lambda w: len(w.counter.charges) <= 1, costs="49 EUR")
    lab.eventually(
        "it is paid, or a person is asked",
        lambda w: w.troth.runs[0].state in {"succeeded", "attention"},
    )
    verdict = lab.explore(overlap=1, survived=1)
    assert verdict.closed, str(verdict)
    assert bank.name == "counter"
