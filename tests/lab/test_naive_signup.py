"""The example, told as promised: the usual signup lies, the retrying one charges twice, keys alone do not keep the books."""

from __future__ import annotations

from functools import partial

import pytest

from examples.naive_signup.scenario import VERSIONS, describe
from troth.lab import Lab, Violation, session
from troth.lab.steps import Limits

EXPECTED = {
    "as usually written": {"lie", "stuck"},
    "with a tutorial's retries": {"money"},
    "with keys, without a constraint": {"money"},
    "with keys and a constraint": set(),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_lab_finds(lab: Lab, version: str):
    describe(lab, *VERSIONS[version])
    verdict = lab.explore()
    assert {one.promise.severity for one in verdict.counterexamples} == EXPECTED[version], str(
        verdict
    )
    for one in verdict.counterexamples:
        assert len(one.faults) == 1, "one fault is enough for each"
    assert verdict.closed == (version == "with keys and a constraint")
    assert not any("never happened" in one for one in verdict.warnings)


def test_the_first_counterexample_comes_soon(lab: Lab, monkeypatch):
    """Less than a second, said in steps: a second is another amount of work on every machine."""
    monkeypatch.setattr(session, "Limits", partial(Limits, aftermath=0.0))
    describe(lab, *VERSIONS["with a tutorial's retries"])
    counts = lab.explore().counts
    assert counts.states < 1_000
    assert counts.runs < 400
    assert counts.effects < 500


def test_the_code_runs_far_less_often_than_the_search_steps(lab: Lab):
    describe(lab, *VERSIONS["with keys and a constraint"])
    counts = lab.explore().counts
    assert counts.runs * 5 < counts.states
    assert counts.runs <= counts.histories
    assert counts.repeated == counts.runs, "a closed graph is compared history by history"


def test_the_double_charge_is_told_in_lanes(lab: Lab):
    describe(lab, *VERSIONS["with a tutorial's retries"])
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
