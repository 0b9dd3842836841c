"""The page of outcomes says what the tables say."""

from tools import gen_outcomes


def test_the_page_is_up_to_date() -> None:
    assert gen_outcomes.PAGE.read_text() == gen_outcomes.page(), (
        "run `python tools/gen_outcomes.py`"
    )
