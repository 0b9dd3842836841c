"""The page of what each assumption costs is what the lab says."""

from __future__ import annotations

import pytest

from tools import gen_assumptions as page

AGAIN = "run `python -m tools.gen_assumptions`"


def test_the_page_is_made_of_what_was_found():
    assert page.PAGE.read_text() == page.page(page.stored()), AGAIN


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("version", page.COLUMNS)
def test_the_lab_says_so(database_url, version):
    """Whatever was broken is broken again, and what has closed closes again."""
    known = {(one.version, one.given_up): one for one in page.stored()}
    for world in page.WORLDS:
        stored = known[version, world.given_up]
        found = page.run(version, world, database_url)
        assert found.broken == stored.broken, AGAIN
        assert found.closed or not stored.closed, AGAIN
