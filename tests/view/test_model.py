"""What a person sees of runs, as pure functions."""

from __future__ import annotations

import json

from troth.base import codec
from troth.journal.model import RunState
from troth.view.model import as_json
from troth.view.runs import RunFilter


def test_filters_read_only_what_can_match():
    def reads(*states: RunState) -> tuple[bool, bool]:
        which = RunFilter(states=frozenset(states))
        return which.live, which.ended

    assert reads() == (True, True)
    assert reads(RunState.ATTENTION) == (True, False)
    assert reads(RunState.FAILED) == (False, True)
    assert reads(RunState.READY, RunState.SUCCEEDED) == (True, True)


def test_payloads_keep_every_digit():
    big = b'{"n":12345678901234567890123,"x":1.10}'
    assert codec.encode({"payload": as_json(big)}) == b'{"payload":' + big + b"}"
    assert as_json(None) is None
    assert json.loads(codec.encode(as_json(b"\xff"))) == "/w=="
