"""Access decisions: the list by filters that are the address; one of them, why, by the policies of its time."""

from __future__ import annotations

import re
import sys
from typing import Any

import psycopg

from tests.access.conftest import make
from tests.access.test_decisions import ACCOUNT, ADA, BOB
from tests.console.conftest import rows, words
from tests.console.furnished import decision
from tests.console.test_workers_page import line
from troth.base import ids
from troth.console import Role


async def decided(cell: tuple[str, str], *asked: Any) -> str:
    """What Cedar says, recorded."""
    url, schema = cell
    async with await psycopg.AsyncConnection.connect(url) as tx:
        found = await make(schema).decide(tx, *asked)
    return str(found.id)


async def test_the_address_filters_and_the_form_says_so(cell, meet):
    denied = decision(cell)
    allowed = decision(
        cell, principal_id="ada", allowed=True, because="permit", policies=["tenant-reads"]
    )
    other = decision(
        cell, action="Plan::change", resource_id="a2", because="forbid", policies=["frozen-stays"]
    )
    ada = meet(role=Role.VIEWER)

    async def listed(query: str) -> list[str]:
        return re.findall(r'<tr id="d-([0-9a-f-]{36})"', await ada.text(f"/decisions?{query}"))

    assert await listed("") == [other, allowed, denied]
    assert await listed("principal=bob") == [other, denied]
    assert await listed("action=Account::read") == [allowed, denied]
    assert await listed("resource=a2") == [other]
    assert await listed("verdict=allowed") == [allowed]
    assert await listed("principal=bob&verdict=denied&action=Plan::change") == [other]
    assert await listed("since=2126-01-01") == []
    page = await ada.text("/decisions?principal=bob&verdict=denied&action=Account::read")
    assert re.search(r'name="principal" value="bob"', page)
    assert re.search(r'value="denied" selected', page)
    assert "troth access why --principal bob --action Account::read" in words(page)
    page = await ada.text("/decisions")
    assert line(page, f"d-{denied}").startswith(
        "✕ denied App::Person bob Account::read App::Account a1 no policy permits it"
    )
    assert "✓ allowed" in line(page, f"d-{allowed}")
    assert "frozen-stays" in line(page, f"d-{other}")
    assert (await ada.get("/decisions?verdict=perhaps")).status_code == 400
    assert (await ada.get("/jump?q=bob")).headers["location"] == "/decisions?principal=bob"
    assert (await ada.get(f"/jump?q={denied}")).headers["location"] == f"/decisions/{denied}"


async def test_decisions_come_in_pages(cell, meet):
    made = [decision(cell) for _ in range(60)]
    ada = meet()
    page = await ada.text("/decisions")
    following = re.search(r'rel="next" href="([^"]+)"', page)
    assert following
    page += await ada.text(following[1].replace("&amp;", "&"))
    assert re.findall(r'<tr id="d-([0-9a-f-]{36})"', page) == made[::-1]


async def test_why_a_person_may_not(cell, meet):
    made = await decided(cell, BOB, "Account::read", ACCOUNT)
    page = await meet(role=Role.VIEWER).text(f"/decisions/{made}")
    said = words(page)
    assert "Denied: no policy permits it." in said
    assert "What came near tenant-reads line 2 not true: when (principal has tenant) && (" in said
    assert "tenant-changes-plan : another action" in said
    assert "staff-does-all : another principal" in said
    assert f"troth access why {made}" in said
    assert "other" not in said.replace("another", ""), "what is known of people is shown on demand"


async def test_why_a_person_may(cell, meet):
    made = await decided(cell, ADA, "Account::read", ACCOUNT)
    said = words(await meet().text(f"/decisions/{made}"))
    assert "Allowed: a policy permits it, and none forbids it." in said
    assert "✓ permits it tenant-reads line 2" in said
    assert "principal.tenant == resource.tenant" in said
    assert "It reads principal.tenant , resource.tenant ." in said


async def test_what_was_known_is_hidden_until_somebody_asks_who_is_recorded(cell, meet, acts):
    made = await decided(cell, BOB, "Account::read", ACCOUNT)
    ada = meet()
    page = await ada.text(f"/decisions/{made}")
    assert "hidden" in words(page)
    form = {"in": "decision", "decision": made, "of": "inputs"}
    shown = await ada.act("payload.show", **form)
    assert '"tenant"' in words(shown.text)
    assert acts() == [("ada", "operator", "console", "payload.show", made, "done", None)]
    assert rows(cell, "SELECT details->>'of' FROM {}.operator_act") == [("decision",)]
    whole = await ada.post("/payload", form)
    assert "entities" in whole.json()
    eve = meet("eve", Role.VIEWER)
    assert (await eve.act("payload.show", **form)).status_code == 403
    nothing = {"in": "decision", "decision": str(ids.new_id()), "of": "inputs"}
    assert (await ada.act("payload.show", **nothing)).status_code == 404


async def test_without_policies_or_without_cedar_it_says_so(cell, meet, monkeypatch):
    ada = meet()
    said = words(await ada.text(f"/decisions/{decision(cell)}"))
    assert "The policies of that time were not kept" in said
    made = await decided(cell, BOB, "Account::read", ACCOUNT)
    monkeypatch.setitem(sys.modules, "cedarpy", None)
    said = words(await ada.text(f"/decisions/{made}"))
    assert "Policies need cedarpy: pip install 'troth[access]'." in said
    assert "Denied: no policy permits it." in said


async def test_what_is_no_decision_is_told(cell, meet):
    ada = meet()
    assert (await ada.get("/decisions/nonsense")).status_code == 400
    missing = await ada.get(f"/decisions/{ids.new_id()}")
    assert missing.status_code == 404
    assert "There is no such decision" in words(missing.text)
    assert "No decision is recorded" in words(await ada.text("/decisions"))
