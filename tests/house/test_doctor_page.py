"""The page of the doctor's findings says what its rules say."""

from tools import gen_doctor


def test_the_page_is_up_to_date() -> None:
    assert gen_doctor.PAGE.read_text() == gen_doctor.page(), "run `python -m tools.gen_doctor`"
