"""The page of settings says what the code says, and nothing reads the environment beside the table."""

import re

from tests.house.tree import SOURCE, files_in, short
from tools import gen_settings
from troth.base.settings import TABLE, unknown, variable


def test_the_page_is_up_to_date() -> None:
    assert gen_settings.PAGE.read_text() == gen_settings.page(), (
        "run `python tools/gen_settings.py`"
    )


def test_every_variable_that_the_code_names_is_in_the_table() -> None:
    known = {variable(name) for name in TABLE}
    found = {
        (short(path), name)
        for path in files_in(SOURCE, ".py")
        for name in re.findall(r"\bTROTH_[A-Z_]+\b", path.read_text())
        if name not in known | {"TROTH_EDGE", "TROTH_TEST_"} and unknown({name: "1"})
    }
    assert not found, f"a setting that `troth config` does not list: {found}"
