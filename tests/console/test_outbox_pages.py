"""Events on their way out: lag, deliveries, one message, endpoints, and sending again."""

from __future__ import annotations

import re

from tests.console import kept
from tests.console.conftest import rows, words
from troth.base import ids
from troth.console import Role


def deliveries(cell) -> dict[object, str]:
    return dict(rows(cell, "SELECT message, state::text FROM {}.outbox_delivery"))


def messages(page: str) -> list[str]:
    return re.findall(r'href="/outbox/messages/([0-9a-f-]{36})"', page)


async def test_lag_says_who_is_behind_and_each_count_leads_to_its_deliveries(cell, meet):
    there = kept.endpoint(cell, failing_since="2026-11-24")
    dead = kept.message(cell, there)
    waiting = kept.message(cell, there, "pending")
    doubtful = kept.message(cell, None, "in_doubt")
    kept.message(cell, None, "delivered")
    ada = meet()
    page = await ada.text("/outbox")
    said = words(page)
    assert "https://shop.example/hook" in said
    assert "fails for" in said
    assert "whsec" not in page
    assert len(messages(page)) == 4
    links = [
        each.replace("&amp;", "&")
        for each in re.findall(r'href="(/outbox\?[^"]*state=[^"]+)"', page)
    ]
    assert [messages(await ada.text(link)) for link in links] == [
        [str(waiting)], [str(dead)], [str(doubtful)]
    ]  # fmt: skip
    assert messages(await ada.text(f"/outbox?message={dead}")) == [str(dead)]
    assert "troth outbox list --state dead --outbox events" in words(
        await ada.text("/outbox?state=dead&outbox=events")
    )
    assert (await ada.get("/outbox?endpoint=x")).status_code == 400


async def test_a_message_shows_its_attempts_and_hides_what_it_says(cell, meet, acts):
    message = kept.message(cell, kept.endpoint(cell))
    ada = meet()
    page = await ada.text(f"/outbox/messages/{message}")
    said = words(page)
    assert "HTTP 500" in said
    assert "250 ms" in said
    assert "4111" not in page
    assert "out of order" not in page
    ((delivery,),) = rows(cell, "SELECT id FROM {}.outbox_delivery")
    form = {"in": "message", "message": str(message)}
    for of, holds in (("payload", "4111-1111"), ("headers", "traceparent")):
        assert holds in (await ada.act("payload.show", **form, of=of)).text
    answer = {**form, "of": "answer", "delivery": str(delivery), "claim": "1"}
    shown = await ada.act("payload.show", **answer)
    assert "&lt;h1&gt;out of order&lt;/h1&gt;" in shown.text
    assert "<h1>out" not in shown.text
    assert (await ada.act("payload.show", **answer | {"claim": "2"})).status_code == 404
    other = kept.message(cell, None)
    stolen = answer | {"message": str(other)}
    assert (await ada.act("payload.show", **stolen)).status_code == 404, "not of this message"
    paths = [
        row[0]["path"] for row in rows(cell, "SELECT details FROM {}.operator_act ORDER BY id")
    ]
    assert paths == ["payload", "headers", f"answer to attempt 1 of delivery {delivery}"]
    assert (await ada.get(f"/outbox/messages/{ids.new_id()}")).status_code == 404
    assert (await ada.get("/outbox/messages/nonsense")).status_code == 400


async def test_a_message_is_sent_again(cell, meet, acts):
    message = kept.message(cell, kept.endpoint(cell))
    ada = meet()
    page = await ada.text(f"/act/outbox.resend?message={message}")
    assert "who does not look at ids gets it twice" in words(page)
    assert f"troth outbox resend {message}" in words(page)
    done = await ada.act("outbox.resend", message=str(message), note="they have mended it")
    assert "One delivery is due now" in words(done.text)
    assert deliveries(cell) == {message: "pending"}
    again = await ada.act("outbox.resend", message=str(message))
    assert again.status_code == 409
    assert "it is on its way" in words(again.text)
    assert [act[3:6] for act in acts()] == [("outbox.resend", str(message), "done")]
    assert rows(cell, "SELECT result FROM {}.operator_act") == [({"messages": [str(message)]},)]
    assert (await ada.act("outbox.resend", message="nonsense")).status_code == 422
    eve = meet("eve", Role.VIEWER)
    assert (await eve.act("outbox.resend", message=str(message))).status_code == 403


async def test_all_dead_letters_of_an_endpoint_are_sent_again_and_nothing_else(cell, meet, acts):
    here, there = kept.endpoint(cell), kept.endpoint(cell, url="https://other.example")
    dead = {kept.message(cell, here), kept.message(cell, here)}
    others = {kept.message(cell, there), kept.message(cell, here, "in_doubt")}
    ada = meet()
    page = await ada.text(f"/outbox?endpoint={here}")
    assert f'href="/act/outbox.resend_all?endpoint={here}"' in page
    form = await ada.text(f"/act/outbox.resend_all?endpoint={here}")
    assert "2 dead letters for https://shop.example/hook" in words(form)
    assert f"troth outbox resend --endpoint {here}" in words(form)
    fewer = await ada.act("outbox.resend_all", endpoint=str(here), shown="", counted="1")
    assert fewer.status_code == 409
    done = await ada.act("outbox.resend_all", endpoint=str(here), shown="", counted="2")
    assert "2 deliveries are due now" in words(done.text)
    assert {each for each, state in deliveries(cell).items() if state == "pending"} == dead
    assert {deliveries(cell)[each] for each in others} == {"dead", "in_doubt"}
    assert [act[3:6] for act in acts()] == [("outbox.resend_all", "dead letters", "done")]
    none = await ada.act("outbox.resend_all", endpoint=str(here), shown="", counted="2")
    assert none.status_code == 409
    assert (await ada.get(f"/act/outbox.resend_all?endpoint={ids.new_id()}")).status_code == 404


async def test_endpoints_are_listed_and_switched(cell, meet, acts):
    works = kept.endpoint(cell)
    off = kept.endpoint(
        cell, url="https://off.example", disabled_at="2026-11-24", disabled_because="410 Gone",
        failing_since="2026-11-23",
    )  # fmt: skip
    ada = meet()
    page = await ada.text("/outbox/endpoints")
    assert "410 Gone" in words(page)
    assert page.index(str(off)) < page.index(str(works))
    failing = await ada.text("/outbox/endpoints?failing=true")
    assert str(works) not in failing
    assert "410 Gone" in words(await ada.text(f"/outbox?endpoint={off}"))
    assert "https://off.example" in words(
        await ada.text(f"/act/outbox.endpoint.enable?endpoint={off}")
    )
    done = await ada.act("outbox.endpoint.enable", endpoint=str(off))
    assert "The endpoint is enabled" in words(done.text)
    await ada.act("outbox.endpoint.disable", endpoint=str(works), note="they asked for it")
    disabled = rows(
        cell, "SELECT id, disabled_because FROM {}.outbox_endpoint WHERE disabled_at IS NOT NULL"
    )
    assert disabled == [(works, "disabled by ada")]
    assert [act[3:5] for act in acts()] == [
        ("outbox.endpoint.enable", str(off)), ("outbox.endpoint.disable", str(works))
    ]  # fmt: skip
    gone = ids.new_id()
    assert (await ada.act("outbox.endpoint.enable", endpoint=str(gone))).status_code == 404
    assert "It was removed" in words(await ada.text(f"/outbox?endpoint={gone}"))
