"""The list of runs: what the address asks is what is shown."""

from __future__ import annotations

import re
from uuid import UUID

import psycopg
import pytest

from tests.console.conftest import words
from troth.base import ids


def listed(page: str) -> list[str]:
    """The ids of the runs of a page, in their order."""
    return re.findall(r'<tr id="r-([0-9a-f-]{36})"', page)


def backlog(cell: tuple[str, str], count: int, workflow: str = "old") -> list[UUID]:
    """So many runs that have ended, the newest first."""
    url, schema = cell
    made = [ids.new_id() for _ in range(count)]
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {schema}.run_history (id, workflow, input, state, claim, starts_at) "
            "VALUES (%s, %s, '{}', 'succeeded', 1, clock_timestamp())",
            [(each, workflow) for each in made],
        )
    return sorted(made, reverse=True)


async def test_all_runs_are_listed_the_newest_first(runs, meet):
    page = await meet().text("/runs")
    assert listed(page) == sorted(runs.values(), reverse=True)
    assert "attention: in doubt" in words(page)


async def test_the_address_filters_and_the_form_says_so(runs, meet):
    ada = meet()
    assert listed(await ada.text("/runs?state=attention&reason=bug")) == [runs["broken"]]
    assert listed(await ada.text("/runs?workflow=greet")) == [runs["greet"]]
    assert listed(await ada.text("/runs?key=key:listener")) == [runs["listener"]]
    assert listed(await ada.text("/runs?since=2030-01-01")) == []
    page = await ada.text("/runs?state=attention&state=failed")
    assert set(listed(page)) == {runs["broken"], runs["doubtful"], runs["refuse"]}
    assert re.search(r'value="attention" checked', page)
    assert not re.search(r'value="running" checked', page)
    assert "troth run list --state attention --state failed" in words(page)


@pytest.mark.parametrize("query", ["state=lost", "since=yesterday", "parent=x", "after=x"])
async def test_an_address_that_asks_for_what_cannot_be_says_so_and_keeps_the_filter(
    query, cell, meet
):
    answer = await meet().get(f"/runs?{query}&workflow=checkout")
    assert answer.status_code == 400
    assert "cannot be" in words(answer.text) or "it must be" in words(answer.text)
    assert 'name="workflow" value="checkout"' in answer.text


async def test_pages_follow_each_other_without_gap_or_repetition(cell, meet):
    made = [str(each) for each in backlog(cell, 120)]
    ada, path, seen = meet(), "/runs", []
    for _ in range(3):
        page = await ada.text(path)
        seen += listed(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == made
    assert not path, "the last page has no next one"
