"""Database time on the local monotonic clock."""

import time

import pytest

from troth.base.clock import Clock


def test_before_the_first_reading_it_is_this_machine_s_time() -> None:
    assert Clock().now() == pytest.approx(time.time(), abs=0.5)


def test_a_reading_is_taken_to_be_from_the_middle_of_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    clock.observe(1_000_000.0, asked_at=50.0, answered_at=52.0)
    monkeypatch.setattr(time, "monotonic", lambda: 51.0)
    assert clock.now() == 1_000_000.0
    monkeypatch.setattr(time, "monotonic", lambda: 61.5)
    assert clock.now() == 1_000_010.5


def test_setting_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)
    clock.observe(500.0, asked_at=7.0, answered_at=7.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.now() == 500.0
