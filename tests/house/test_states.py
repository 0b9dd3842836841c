"""The page of states says what the code says, and every state can be left or is an end."""

from tools import gen_states
from troth.journal.model import ENDED, TRANSITIONS, RunState


def test_the_page_is_up_to_date() -> None:
    assert gen_states.PAGE.read_text() == gen_states.page(), "run `python tools/gen_states.py`"


def test_every_state_leads_to_an_end() -> None:
    assert set(TRANSITIONS) == set(RunState)
    leading = set(ENDED)
    while more := {s for s, after in TRANSITIONS.items() if leading & set(after)} - leading:
        leading |= more
    assert leading == set(RunState)
    assert all((state in ENDED) == (not after) for state, after in TRANSITIONS.items())
