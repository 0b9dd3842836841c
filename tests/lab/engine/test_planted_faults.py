"""What the lab must find: the engine with one of its decisions taken away, or one line of its SQL."""

from __future__ import annotations

import pytest

from tests.lab.engine import shop
from troth.effect import rules
from troth.lab import Lab
from troth.workflow import record
from troth.workflow.consequences import EffectDefinition

WITHOUT = """
DO $do$
DECLARE
    whole text := pg_get_functiondef('troth.{function}'::regproc);
    changed text := replace(whole, $line${line}$line$, $line${instead}$line$);
BEGIN
    IF changed = whole THEN
        RAISE 'there is no such line in {function}';
    END IF;
    EXECUTE changed;
END $do$;
"""
FENCE = WITHOUT.format(
    function="flush",
    line="RAISE EXCEPTION 'worker % was taken over', p_worker USING ERRCODE = 'TR001';",
    instead="",
)


def broken(lab: Lab, **limits: int) -> set[str]:
    verdict = lab.explore(**{"budget": 100, "survived": 1, "overlap": 1, "in_flight": 1, **limits})
    assert verdict.word == "VIOLATED", str(verdict)
    return {example.promise.name for example in verdict.counterexamples}


@pytest.mark.slow
def test_a_flush_without_its_fence(lab: Lab, database_url):
    """Whoever was declared dead goes on beside its successor."""
    program = lab.troth(shop.troth, database_url, seed=FENCE, lost_commits=False)
    program.starts(shop.pay_once, "49", key="k")
    shop.promise(lab, shop.Counter())
    assert broken(lab, overlap=2, in_flight=0)


def test_an_unknown_effect_that_is_sent_again_blindly(lab: Lab, database_url, monkeypatch):
    def not_done(given, history, first_sent_s, now_s, *, wanted):
        return rules._when_not_done(history, now_s, wanted=wanted)

    monkeypatch.setattr(rules, "_when_unknown", not_done)
    program = lab.troth(shop.troth, database_url, workers=1, lost_commits=False)
    program.starts(shop.pay_once, "49", key="k")
    shop.promise(lab, shop.Counter())
    assert "charged at most once" in broken(lab)


def test_an_undo_that_is_missing(lab: Lab, database_url, monkeypatch):
    monkeypatch.setattr(EffectDefinition, "remembered", property(lambda _: False))
    program = lab.troth(shop.troth, database_url, workers=1, lost_commits=False)
    program.starts(shop.book, "7", "0", key="k")
    shop.promise(lab, shop.Bank())
    assert "who has failed or was cancelled has nothing" in broken(lab)


def test_a_probe_that_is_believed_too_early(lab: Lab, database_url, monkeypatch):
    monkeypatch.setattr(record, "settles_at", lambda *_, **__: 0.0)
    program = lab.troth(shop.troth, database_url, workers=1, lost_commits=False)
    program.starts(shop.pay_by_reference, "49", key="k")
    shop.promise(lab, shop.Counter())
    assert "charged at most once" in broken(lab)


@pytest.mark.slow
def test_a_cancellation_that_is_not_heard(lab: Lab, database_url):
    """Whoever ends a run does not look whether it was to be cancelled."""
    deaf = WITHOUT.format(function="flush", line="m.topic = '!cancel'", instead="m.topic = '!'")
    program = lab.troth(shop.troth, database_url, seed=deaf, workers=1, lost_commits=False)
    program.starts(shop.book, "7", "49", key="k")
    lab.user(program.cancel("k"), overlap=1)
    shop.promise(lab, shop.Bank())
    lab.told(200, "it ends as cancelled", lambda w: w.troth.runs[0].state != "succeeded")
    assert "it ends as cancelled" in broken(lab, overlap=2)
