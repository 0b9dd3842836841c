"""The example of webhooks and queues, told as promised."""

from __future__ import annotations

import pytest

from examples.deliveries import test_deliveries as example
from troth.lab import Lab, Violation
from troth.lab.steps import Limits


@pytest.mark.parametrize(
    ("describe", "path", "faults"),
    [
        pytest.param(example.test_payments, "/hook/as-usual", ("crash",), marks=pytest.mark.slow),
        (example.test_shipping, "/order/as-usual", ("delivery meanwhile",)),
    ],
)
def test_what_is_usual_fails(monkeypatch, describe, path: str, faults: tuple[str, ...]):
    monkeypatch.setattr(Limits, "aftermath", 0.1)
    with pytest.raises(Violation) as told:
        describe(Lab(path, closer=0), path)
    assert told.value.verdict.counterexamples[0].faults == faults, str(told.value)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("describe", "path"), [(example.test_payments, "/hook"), (example.test_shipping, "/order")]
)
def test_what_is_right_holds(describe, path: str):
    lab = Lab(path, closer=0)
    describe(lab, path)
    assert lab.verdict is not None
    assert lab.verdict.word == "HOLDS"
