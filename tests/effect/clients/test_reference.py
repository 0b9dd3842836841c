"""The page of outcomes says what the tables say, and the function that it shows works."""

import httpx

from examples.judging import WarehouseClosed, warehouse
from tools import gen_outcomes
from troth.effect.clients import judge
from troth.effect.model import Judgement, Outcome


def test_the_page_is_up_to_date() -> None:
    assert gen_outcomes.PAGE.read_text() == gen_outcomes.page(), (
        "run `python tools/gen_outcomes.py`"
    )


def test_the_example_judges_its_own_exceptions_and_leaves_the_others() -> None:
    request = httpx.Request("POST", "http://warehouse")
    sold_out = httpx.Response(409, json={"detail": "out of stock"}, request=request)
    error = httpx.HTTPStatusError("", request=request, response=sold_out)

    closed = judge(WarehouseClosed(90), warehouse.judge)
    assert closed == Judgement(Outcome.NOT_DONE, "the warehouse opens in 90 s", 90)
    assert judge(error, warehouse.judge) == Judgement(Outcome.REFUSED, "out of stock")
    assert judge(error).outcome is Outcome.UNKNOWN
    assert judge(TimeoutError(), warehouse.judge).outcome is Outcome.UNKNOWN
