"""Events that came in: sources, filters, one event, and putting back one or all of a kind."""

from __future__ import annotations

import re

from tests.console import kept
from tests.console.conftest import rows, words
from troth.console import Role


def listed(page: str) -> list[str]:
    return [
        each.replace("&amp;", "&") for each in re.findall(r'href="(/inbox/event\?[^"]+)"', page)
    ]


def states(cell) -> dict[str, str]:
    return dict(rows(cell, "SELECT event_id, state FROM {}.inbox_event"))


async def test_sources_say_how_they_stand_and_each_count_leads_to_its_events(cell, meet):
    kept.event(cell, "evt_1")
    kept.event(cell, "evt_2", state="received", delivered=0, found_by="sweep")
    kept.event(cell, "evt_3", source="shop/a&b", state="parked", parked_since="2026-11-24")
    kept.made(
        cell,
        "inbox_sweep",
        source="stripe",
        turn=1,
        due_at="2026-11-24",
        failures=3,
        error="HTTP 503",
    )
    ada = meet()
    page = await ada.text("/inbox")
    said = words(page)
    assert "failed 3 times HTTP 503" in said
    assert len(listed(page)) == 3
    links = [
        each.replace("&amp;", "&")
        for each in re.findall(r'href="(/inbox\?[^"]*state=[^"]+)"', page)
    ]
    assert links == [
        "/inbox?source=shop%2Fa%26b&state=parked",
        "/inbox?source=stripe&state=received",
        "/inbox?source=stripe&state=quarantined",
    ]
    found = [listed(await ada.text(link)) for link in links]
    assert found == [
        ["/inbox/event?source=shop%2Fa%26b&event=evt_3"],
        ["/inbox/event?source=stripe&event=evt_2"],
        ["/inbox/event?source=stripe&event=evt_1"],
    ]
    assert "Received" not in words(await ada.text("/inbox?source=stripe")), (
        "sources are not counted"
    )
    assert "troth inbox list --state parked --source shop" in words(
        await ada.text("/inbox?source=shop&state=parked")
    )
    assert (await ada.get("/inbox?state=lost")).status_code == 400


async def test_one_event_tells_how_it_came_and_what_else_came_under_its_id(cell, meet, acts):
    kept.event(cell)
    kept.made(
        cell, "inbox_conflict", source="stripe", event_id="evt_1", digest=b"\x01\x02", type="charge.paid", found_by="webhook",
        first_seen="2026-11-24", last_seen="2026-11-24", seen=2, body=b'{"other":true}',
    )  # fmt: skip
    kept.made(
        cell, "inbox_replay", source="stripe", event_id="evt_1", at="2026-11-24", by="bob", note="try", was="quarantined",
        reason="Traceback\nKeyError: 'plan'",
    )  # fmt: skip
    ada = meet()
    page = await ada.text("/inbox/event?source=stripe&event=evt_1")
    said = words(page)
    assert "3 times, the same each time" in said
    assert "ValueError: no such plan" in said
    assert "charge.paid" in said
    assert "KeyError: 'plan'" in said
    assert "4111" not in page
    assert "v1=secret" not in page
    form = {"in": "event", "source": "stripe", "event": "evt_1"}
    for of, holds in (("body", "4111-1111"), ("headers", "v1=secret"), ("conflict", "other")):
        more = {"digest": "0102"} if of == "conflict" else {}
        shown = await ada.act("payload.show", **form, of=of, **more)
        assert holds in shown.text, of
    assert (await ada.act("payload.show", **form, of="conflict", digest="ff")).status_code == 404
    assert (await ada.act("payload.show", **form, of="conflict", digest="x'")).status_code == 422
    paths = [
        row[0]["path"] for row in rows(cell, "SELECT details FROM {}.operator_act ORDER BY id")
    ]
    assert paths == ["body, of stripe", "headers, of stripe", "conflict 0102, of stripe"]
    only = kept.event(cell, "evt_2", delivered=0, found_by="sweep", body=None, state="applied")
    said = words(await ada.text(f"/inbox/event?source=stripe&event={only}"))
    assert "only the sweep has found it" in said
    assert "Body forgotten" in said
    assert "Put it back" not in said
    assert (await ada.get("/inbox/event?source=stripe&event=no")).status_code == 404
    assert (await ada.get("/inbox/event?source=stripe")).status_code == 400


async def test_an_event_is_put_back(cell, meet, acts):
    kept.event(cell)
    ada = meet()
    page = await ada.text("/act/inbox.replay?event=evt_1&source=stripe")
    assert "one that was applied is never applied twice" in words(page)
    assert "troth inbox replay evt_1 --source stripe" in words(page)
    done = await ada.act("inbox.replay", event="evt_1", source="stripe", note="mended")
    assert "it was quarantined" in words(done.text)
    assert states(cell) == {"evt_1": "received"}
    assert rows(cell, "SELECT by, note, was FROM {}.inbox_replay") == [
        ("ada", "mended", "quarantined")
    ]
    assert acts() == [("ada", "operator", "console", "inbox.replay", "evt_1", "done", "mended")]
    again = await ada.act("inbox.replay", event="evt_1", source="stripe")
    assert again.status_code == 409
    assert (await ada.act("inbox.replay", event="evt_9", source="stripe")).status_code == 404
    assert (await ada.act("inbox.replay", event="evt_1")).status_code == 422
    eve = meet("eve", Role.VIEWER)
    assert (await eve.act("inbox.replay", event="evt_1", source="stripe")).status_code == 403


async def test_all_of_a_filter_are_counted_and_put_back_and_no_others(cell, meet, acts):
    for number, more in enumerate(
        [
            {},
            {},
            {"type": "charge.paid"},
            {"source": "shop"},
            {"object_key": "ch_2"},
            {"state": "applied"},
        ]
    ):
        kept.event(cell, f"evt_{number}", **more)
    ada = meet()
    page = await ada.text("/inbox?state=quarantined&source=stripe&type=charge.failed&object=ch_1")
    link = re.search(r'href="(/act/inbox.replay_all\?[^"]+)"', page)
    assert link
    form = await ada.text(link[1].replace("&amp;", "&"))
    assert "2 events are quarantined, source stripe, type charge.failed, object ch_1" in words(form)
    command = "troth inbox replay --quarantined --source stripe --type charge.failed --object ch_1"
    assert command in words(form)
    sent = {
        "state": "quarantined",
        "source": "stripe",
        "type": "charge.failed",
        "object": "ch_1",
        "shown": "",
    }
    more = await ada.act("inbox.replay_all", **sent, counted="1")
    assert more.status_code == 409
    assert "2 match now, and 1 did when you looked" in words(more.text)
    assert acts() == []
    done = await ada.act("inbox.replay_all", **sent, counted="2", note="mended")
    assert "2 events that were quarantined are put back" in words(done.text)
    assert {event for event, state in states(cell).items() if state == "received"} == {
        "evt_0",
        "evt_1",
    }
    assert [act[3:] for act in acts()] == [("inbox.replay_all", "quarantined", "done", "mended")]
    for query in (
        "state=quarantined&since=2h",
        "state=applied",
        "state=ignored&state=quarantined",
        "",
    ):
        assert "inbox.replay_all" not in await ada.text(f"/inbox?{query}"), query
    assert (await ada.act("inbox.replay_all", state="applied")).status_code == 422
