"""What holds for every page of operating: nothing is taken for HTML, addresses stay under the base path, views follow."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.access.conftest import make
from tests.access.test_decisions import ACCOUNT, BOB
from tests.cli.parked import Journal, park
from tests.console.furnished import Cell, decision, insert, schedule, worker
from tests.console.hostile import HOSTILE, require_harmless
from tests.console.test_places import ADDRESS
from troth.base import codec
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
    process = worker(cell, HOSTILE, HOSTILE, HOSTILE + "@2", beat_s=60)
    insert(cell, "worker_gone", id=77, name=HOSTILE)
    for workflow in (HOSTILE, HOSTILE + "@3"):
        park(cell, Journal(), "bug", {"at": "x", "message": "m"}, workflow=workflow)
    told = {
        "rate_limit": 1,
        "rate_per_s": 1.0,
        "breaker_failures": 2,
        "breaker_pause_s": 30.0,
        "open_until": "2126-01-01",
    }
    insert(cell, "provider", name=HOSTILE, declared_by=process, **told)
    name = schedule(
        cell,
        HOSTILE,
        HOSTILE,
        paused_at="2026-11-01",
        paused_by=HOSTILE,
        paused_note=HOSTILE,
        last_at="2026-11-01",
        last_result=HOSTILE,
    )
    insert(
        cell,
        "schedule_firing",
        schedule=HOSTILE,
        n=1,
        at="2026-11-01",
        result=HOSTILE,
        by=HOSTILE,
        note=HOSTILE,
    )
    insert(cell, "policy_set", digest=b"\x01", policies=POLICY, schema=SCHEMA)
    inputs = {
        "principal": {"type": "App::Person", "id": HOSTILE}, "action": {"type": "App::Action", "id": "Account::read"},
        "resource": {"type": "App::Account", "id": HOSTILE}, "context": {}, "entities": [], "withheld": [],
    }  # fmt: skip
    made = decision(
        cell, principal_type=HOSTILE, principal_id=HOSTILE, action=HOSTILE, resource_type=HOSTILE, resource_id=HOSTILE,
        policies=[HOSTILE], errors=[HOSTILE], inputs=codec.encode(inputs).decode().replace("\\u0001", ""), policy_set=b"\x01",
        because="error",
    )  # fmt: skip
    act = {"by": HOSTILE, "about": HOSTILE, "note": HOSTILE, "via": "program", "act": HOSTILE}
    details = codec.encode({BARE: BARE, "n": {BARE: [BARE]}}).decode()
    insert(
        cell,
        "operator_act",
        outcome="done",
        agrees_with=HOSTILE,
        details=details,
        result=details,
        **act,
    )
    waits = {
        "content": b"\x00",
        "until": "2126-01-01",
        "by": HOSTILE,
        "note": HOSTILE,
        "about": HOSTILE,
    }
    insert(cell, "act_proposal", act=HOSTILE, details=b"{}", **waits)
    insert(cell, "act_proposal", act="db.retain", details=details.encode(), **waits)
    noted = codec.encode({"text": BARE})
    insert(cell, "act_proposal", act="attention.note", details=noted, **waits)
    insert(cell, "act_proposal", act="schedule.pause", details=b"{}", **waits)
    return {"schedule": name, "decision": made, "worker": str(process)}


POLICY = """@id("evil<script>'<img src=x>")
permit (principal, action, resource) when { principal.name == "<script>alert(1)</script><img src=x>" };"""
SCHEMA = """namespace App { entity Person = { name: String }; entity Account;
action "Account::read" appliesTo { principal: [Person], resource: [Account] }; }"""


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
