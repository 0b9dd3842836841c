"""What holds for every page of operating: nothing is taken for HTML, addresses stay under the base path, views follow."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.access.conftest import make
from tests.access.test_decisions import ACCOUNT, BOB
from tests.console.furnished import Cell, schedule, worker
from tests.console.hostile import HOSTILE, require_harmless
from tests.console.test_places import ADDRESS
from tests.console.world import operating
from troth.console import Role

BARE = HOSTILE.replace("\x01", "")  # as far as a name may go into a record of the desk
TOPICS = {
    "/workers": "workers",
    "/providers": "traffic",
    "/schedules": "schedules",
    "/schedule?name=x": "schedules",
    "/decisions": "decisions",
    "/audit": "acts",
    "/audit/waiting": "acts",
    "/audit/rules": "acts",
}


@pytest.fixture
async def furnished(cell: Cell) -> dict[str, str]:
    """One of everything, with names that mean harm; the paths of all pages, by what they are about."""
    return operating(cell, HOSTILE)


def pages(furnished: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """All pages, and what their queries say."""
    said = {"q": HOSTILE}
    return [
        ("/workers", {}),
        ("/workers", {"worker": furnished["worker"]}),
        ("/workers", {"worker": HOSTILE}),
        ("/providers", {}),
        ("/providers", {"name": HOSTILE.replace("\x01", "")}),
        ("/schedules", {}),
        ("/schedules", {"workflow": BARE, "after": HOSTILE, "paused": HOSTILE}),
        ("/schedule", {"name": HOSTILE}),
        ("/schedule", {"name": "<script>"}),
        ("/decisions", {}),
        ("/decisions", {"principal": BARE, "action": BARE, "resource": BARE, "since": "2h"}),
        ("/decisions", {"verdict": HOSTILE}),
        (f"/decisions/{furnished['decision']}", {}),
        ("/audit", {}),
        ("/audit", {"by": BARE, "act": BARE, "about": BARE}),
        ("/audit", {"outcome": HOSTILE}),
        ("/audit/waiting", {}),
        ("/audit/waiting", {"after": HOSTILE}),
        ("/audit/rules", {}),
        ("/health", {}),
        ("/health", {"doctor": "true"}),
        ("/health", {"doctor": HOSTILE}),
        ("/act/schedule.pause", {"schedule": HOSTILE}),
        ("/act/schedule.backfill", {"schedule": HOSTILE, "since": "2d"}),
        ("/act/schedule.backfill", {"schedule": HOSTILE, "since": HOSTILE}),
        ("/act/act.rule", {"act": HOSTILE, "eyes": HOSTILE}),
        ("/act/act.rule", {"act": "run.cancel", "eyes": HOSTILE}),
        ("/act/act.withdraw", {"proposal": HOSTILE}),
        ("/jump", said),
    ]


async def test_nothing_that_is_shown_is_taken_for_html(furnished, meet):
    root = meet("root", Role.ADMIN)
    for path, query in pages(furnished):
        answer = await root.get(path, params=query)
        assert answer.status_code < 500, (path, query, answer.text)
        require_harmless(answer.text, f"{path} {query}")


async def test_what_was_known_at_a_decision_is_not_taken_for_html(furnished, meet):
    form = {"in": "decision", "decision": furnished["decision"], "of": "inputs"}
    answer = await meet().act("payload.show", **form)
    assert answer.status_code == 200
    require_harmless(answer.text, "what was known")


async def test_addresses_stay_under_the_base_path(furnished, meet):
    root = meet("root", Role.ADMIN, root="/ops", base_path="/ops")
    for path, query in pages(furnished):
        page = (await root.get(path, params=query)).text
        found = [each for each in ADDRESS.findall(page) if not each.startswith("#")]
        assert found
        for each in found:
            assert each.startswith("/ops/"), (path, each)
            assert "//" not in each.partition("?")[0], (path, each)


@pytest.mark.parametrize("path", TOPICS)
async def test_a_view_follows_what_it_shows(path, cell, meet):
    schedule(cell, "x")
    page = await meet().text(path)
    assert f'data-connect="/live?topic={TOPICS[path]}' in page
    assert f'hx-get="{path}"' in page


async def test_ids_of_rows_are_unlike_each_other(furnished, cell, meet):
    worker(cell, "another", "x")
    url, schema = cell
    async with await psycopg.AsyncConnection.connect(url) as tx:
        await make(schema).decide(tx, BOB, "Account::read", ACCOUNT)
    ada = meet()
    for path, query in pages(furnished):
        page = (await ada.get(path, params=query)).text
        found = re.findall(r'\sid="([^"]*)"', page)
        assert len(found) == len(set(found)), path
        assert not [each for each in found if not each or " " in each], path


async def test_a_database_that_has_no_time_is_told_with_the_filter_in_place(cell, meet):
    url, schema = cell
    ada = meet(question_s=0.2)
    await ada.text("/audit")
    for table, path in (
        ("operator_act", "/audit?by=rare"),
        ("decision", "/decisions?principal=rare"),
        ("schedule", "/schedules?workflow=rare"),
    ):
        with psycopg.connect(url) as holder:
            holder.execute(f"LOCK TABLE {schema}.{table} IN ACCESS EXCLUSIVE MODE")
            answer = await ada.get(path)
        assert answer.status_code == 503
        assert 'value="rare"' in answer.text
        assert "Narrow it" in answer.text
