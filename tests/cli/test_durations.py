from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from troth.cli.durations import moment, seconds, words

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("500ms", 0.5),
        ("5s", 5),
        ("2m", 120),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("90d", 7776000),
        ("2w", 1209600),
    ],
)
def test_lengths(text, length):
    assert seconds(text) == length


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 s", "5s!", "1h 30m", "five", "1e3s", "99999999w"]
)
def test_what_is_no_length(text):
    with pytest.raises(ValueError, match=r"."):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-24T08:00", datetime(2026, 11, 24, 8, tzinfo=UTC)),
        ("2026-11-24T08:00+02:00", datetime(2026, 11, 24, 6, tzinfo=UTC)),
    ],
)
def test_moments(text, when):
    assert moment(text, NOW) == when


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0.0123, "12 ms"),
        (3.44, "3.4 s"),
        (60, "1 min"),
        (65, "1 min 5 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (90 * 86400, "90 d"),
        (90000, "1 d 1 h"),
    ],
)
def test_words(length, text):
    assert words(length) == text
