"""Requests by their idempotency keys."""

from __future__ import annotations

import re

import pytest

from tests.console import kept
from tests.console.conftest import rows, words
from troth.console import Payload, Role


def listed(page: str) -> list[str]:
    return re.findall(r'<tr id="q-([0-9a-f]+)"', page)


async def test_requests_are_listed_and_the_address_filters(cell, runs, meet):
    first = kept.request(cell, 1)
    waiting = kept.request(cell, 2, status=None, headers=None, body=None, run_id=runs["listener"])
    refused = kept.request(cell, 3, status=409, caller="person:8", method="PUT", key=None)
    ada = meet()
    page = await ada.text("/requests")
    assert listed(page) == [refused, waiting, first]
    assert "not answered yet" in words(page)
    assert f'href="/runs/{runs["listener"]}"' in page
    for query, found in {
        "key=order-1": [first],
        "unanswered=true": [waiting],
        "status=409": [refused],
        "caller=person:8": [refused],
        "method=put": [refused],
        "route=/nowhere": [],
        "since=2999-01-01": [],
    }.items():
        assert listed(await ada.text(f"/requests?{query}")) == found, query
    page = await ada.text("/requests?status=409&unanswered=true")
    assert re.search(r'name="unanswered" value="true" checked', page)
    assert "troth request list --status 409 --unanswered" in words(page)
    wrong = await ada.get("/requests?status=many&key=k")
    assert wrong.status_code == 400
    assert 'name="key" value="k"' in wrong.text


async def test_a_request_tells_what_must_be_the_same_and_hides_its_answer(cell, meet, acts):
    record = kept.request(cell, parts=b'{"body.plan":"x","query.dry":"y"}', headers=b'[["x","y"]]')
    ada = meet()
    page = await ada.text(f"/requests/{record}")
    said = words(page)
    assert "POST /orders" in said
    assert "body.plan query.dry" in said
    assert "12345678901234567890" not in page
    form = {"in": "request", "id": record, "of": "body"}
    shown = await ada.act("payload.show", **form)
    assert '"id": 12345678901234567890' in words(shown.text), "digit for digit"
    assert '[ "x", "y" ]' in words((await ada.act("payload.show", **form | {"of": "headers"})).text)
    assert (await ada.post("/payload", form)).content == b'{"id":12345678901234567890}'
    assert [act[3:6] for act in acts()] == [("payload.show", record, "done")] * 3
    details = rows(cell, "SELECT details FROM {}.operator_act ORDER BY id LIMIT 2")
    assert details == [
        ({"of": "request", "path": "body"},),
        ({"of": "request", "path": "headers"},),
    ]


async def test_what_is_not_there_is_told(cell, meet, acts):
    record = kept.request(cell)
    ada = meet()
    for path in ("/requests/" + "ab" * 32, "/requests/nonsense", "/requests/ABCD"):
        answer = await ada.get(path)
        assert answer.status_code == 404, path
        assert "There is nothing like that" in words(answer.text)
    for form in (
        {"id": record, "of": "soul"},
        {"id": "zz", "of": "body"},
        {"id": "ab" * 32, "of": "body"},
        {"of": "body"},
    ):
        answer = await ada.act("payload.show", **{"in": "request"} | form)
        assert answer.status_code in {404, 422}, form
    nowhere = await ada.act("payload.show", **{"in": "safe", "id": record, "of": "body"})
    assert nowhere.status_code == 422
    assert "nothing is kept in 'safe'" in words(nowhere.text).replace("Nothing", "nothing")
    assert acts() == []


async def test_a_viewer_sees_no_answer(cell, meet, acts):
    record = kept.request(cell)
    eve = meet("eve", Role.VIEWER)
    assert "disabled title" in await eve.text(f"/requests/{record}")
    form = {"in": "request", "id": record, "of": "body"}
    assert (await eve.act("payload.show", **form)).status_code == 403
    assert (await eve.post("/payload", form)).status_code == 403
    assert {act[5] for act in acts()} == {"refused"}


async def test_where_two_people_must_agree_nothing_is_given_out_before(cell, meet, acts):
    record = kept.request(cell)
    kept.made(cell, "act_rule", act="payload.show", eyes=2)
    form = {"in": "request", "id": record, "of": "body"}
    waits = await meet("ada").post("/payload", form)
    assert "This act needs two people" in words(waits.text)
    assert "12345678901234567890" not in waits.text
    given = await meet("bob").post("/payload", form)
    assert given.content == b'{"id":12345678901234567890}'
    assert [act[5] for act in acts()] == ["proposed", "done"]


@pytest.mark.parametrize("body", [b'{"card":"4111"}', b"\xff not JSON 4111"])
async def test_an_answer_is_redacted(body, cell, meet):
    record = kept.request(cell, body=body)
    asked: list[Payload] = []

    def redact(payload: Payload) -> object:
        asked.append(payload)
        return "hidden"

    form = {"in": "request", "id": record, "of": "body"}
    ada = meet(redact=redact)
    assert "4111" not in (await ada.act("payload.show", **form)).text
    assert (await ada.post("/payload", form)).content == b'"hidden"'
    assert (asked[0].of, asked[0].about, asked[0].what) == ("request", record, "body")
    assert asked[0].run is asked[0].workflow is None
    assert "4111" in str(asked[0].value)
