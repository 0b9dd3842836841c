"""The example, told as promised: the usual signup is stuck, the retrying one charges twice, the keyed one closes."""

from __future__ import annotations

import pytest

from examples.naive_signup.scenario import VERSIONS, describe
from troth.lab import Lab, Violation

EXPECTED = {
    "as usually written": {"lie", "stuck"},
    "with a tutorial's retries": {"money"},
    "with idempotency keys": set(),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_lab_finds(lab: Lab, version: str):
    describe(lab, VERSIONS[version])
    verdict = lab.explore()
    assert {one.promise.severity for one in verdict.counterexamples} == EXPECTED[version], str(
        verdict
    )
    for one in verdict.counterexamples:
        assert len(one.faults) == 1, "one fault is enough for each"
    assert verdict.closed == (version == "with idempotency keys")
    assert not verdict.warnings


def test_the_first_counterexample_comes_within_a_second(request: pytest.FixtureRequest):
    """Each time by a lab that knows nothing yet; others use the processors, too, so the quickest of three counts."""

    def seconds(number: int) -> float:
        lab = Lab(f"{request.node.name} {number}")
        describe(lab, VERSIONS["with a tutorial's retries"])
        first = lab.explore().counts.first
        assert first is not None
        return first

    assert min(seconds(number) for number in range(3)) < 1.0


def test_the_code_runs_far_less_often_than_the_search_steps(lab: Lab):
    describe(lab, VERSIONS["with idempotency keys"])
    counts = lab.explore().counts
    assert counts.runs * 5 < counts.states
    assert counts.runs <= counts.histories
    assert counts.repeated == counts.runs, "a closed graph is compared history by history"


def test_the_double_charge_is_told_in_lanes(lab: Lab):
    describe(lab, VERSIONS["with a tutorial's retries"])
    with pytest.raises(Violation) as violated:
        lab.prove()
    (example,) = violated.value.verdict.counterexamples
    fault = next(line for line in example.lines if line.fault)
    assert fault.irreversible, "the lost answer hid the first charge"
    assert "POST /v1/charges" in fault.happened
    assert fault.told.startswith("timeout")
    assert [one for one in example.world if "charges" in one][1].count("ch_2")
    text = str(violated.value)
    assert "One lost answer is enough." in text
    assert "what the caller was told" in text
    assert "common.py" in text
