"""Audit: who did what; what waits for a second person, who is led to the same act; who may do what, and changing that."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.cli.conftest import states
from tests.cli.parked import Journal, park
from tests.console.conftest import rows, words
from tests.console.furnished import insert, schedule
from tests.console.test_workers_page import line
from troth.command.acts import ACTS
from troth.console import Role

BUG = {"at": "x", "message": "it broke"}


def two_people(cell, act: str) -> None:
    insert(cell, "act_rule", act=act, eyes=2)


def link(page: str, name: str) -> str:
    """Where the first link to the form of an act leads."""
    found = re.search(rf'href="(/act/{re.escape(name)}\?[^"]*)"', page)
    assert found, name
    return found[1].replace("&amp;", "&")


async def test_acts_are_listed_by_filters_that_are_the_address(cell, meet, acts):
    run = str(park(cell, Journal(), "bug", BUG))
    await meet("ada").act(
        "run.send", run=run, topic="go", value='"secret"', key="k", note="as agreed"
    )
    await meet("eve", Role.VIEWER).act("run.cancel", run=run)
    schedule(cell, "nightly")
    await meet("ada").act("schedule.pause", schedule="nightly")
    ada = meet("ada", Role.VIEWER)

    async def listed(query: str) -> list[int]:
        return [
            int(each) for each in re.findall(r'<tr id="a-(\d+)"', await ada.text(f"/audit?{query}"))
        ]

    assert await listed("") == [3, 2, 1]
    assert await listed("by=ada") == [3, 1]
    assert await listed("act=run") == [2, 1]
    assert await listed("act=run.cancel") == [2]
    assert await listed(f"about={run}") == [2, 1]
    assert await listed("outcome=refused") == [2]
    assert await listed("via=cli") == []
    assert await listed("since=2126-01-01") == []
    page = await ada.text("/audit?act=run&outcome=done")
    said = line(page, "a-1")
    assert "ada operator, console run.send" in said
    assert "topic go" in said
    assert "key k" in said
    assert "as agreed" in said
    assert "secret" not in page, "what may be confidential is in no record"
    assert "troth audit list --act run --outcome done" in words(page)
    assert re.search(r'value="done" selected', page)
    assert "✕ refused" in line(await ada.text("/audit"), "a-2")
    assert f'href="/jump?q={run}"' in page
    assert (await ada.get("/audit?outcome=perhaps")).status_code == 400


async def test_numbers_in_a_record_are_exact(cell, meet):
    details = json.dumps({"keep_s": 12345678901234567890123})
    insert(
        cell,
        "operator_act",
        by="ada",
        role="admin",
        via="cli",
        act="db.retain",
        about="troth",
        details=details,
        outcome="done",
    )
    assert "keep_s 12345678901234567890123" in words(await meet().text("/audit"))


async def test_acts_come_in_pages(cell, meet):
    for n in range(60):
        insert(
            cell,
            "operator_act",
            by="ada",
            role="admin",
            via="cli",
            act="run.cancel",
            about=f"run {n}",
            outcome="done",
        )
    ada = meet()
    page = await ada.text("/audit")
    following = re.search(r'rel="next" href="([^"]+)"', page)
    assert following
    page += await ada.text(following[1].replace("&amp;", "&"))
    assert [int(each) for each in re.findall(r'<tr id="a-(\d+)"', page)] == list(range(60, 0, -1))


# What waits -----------------------------------------------------------------------------------------------------------


async def test_a_second_person_is_led_to_the_same_act_and_it_happens(runs, cell, meet, acts):
    two_people(cell, "run.resume")
    ada, bob = meet("ada"), meet("bob")
    await ada.act("run.resume", run=runs["broken"], note="mended in 4f2a91c")
    mine = line(await ada.text("/audit/waiting"), "q-1")
    assert "yours" in mine
    assert "Withdraw…" in mine
    assert "Agree" not in mine
    page = await bob.text("/audit/waiting")
    theirs = line(page, "q-1")
    assert f"run.resume 1 {runs['broken']}" in theirs
    assert "mended in 4f2a91c" in theirs
    assert "Withdraw" not in theirs
    assert "Reject" not in theirs, "that is its author's, or an admin's"
    form = await bob.text(link(page, "run.resume"))
    assert runs["broken"] in words(form)
    answer = await bob.act("run.resume", run=runs["broken"])
    assert "The run is ready" in words(answer.text)
    assert states(cell)[runs["broken"]] == "ready"
    assert "Nothing waits" in words(await bob.text("/audit/waiting"))
    assert "as ada proposed" in line(await bob.text("/audit"), "a-2")


@pytest.mark.parametrize(
    ("act", "said"),
    [("run.send", {"topic": "go", "key": "2026-11-24"}), ("run.cancel", {})],
)
async def test_the_form_of_a_second_person_says_what_the_first_did(act, said, cell, meet):
    run = str(park(cell, Journal(), "bug", BUG))
    two_people(cell, act)
    confidential = {"value": '"4111"'} if act == "run.send" else {}
    assert (await meet("ada").act(act, run=run, **said, **confidential)).status_code == 200
    bob = meet("bob")
    page = await bob.text("/audit/waiting")
    there = link(page, act)
    assert dict(parse_qsl(urlsplit(there).query)) == {"run": run, **said}
    assert "4111" not in page + await bob.text(there), "the second person must know it"
    assert ("value confidential" in words(page)) is bool(confidential)
    wrong = await bob.act(act, run=run, **said, **dict.fromkeys(confidential, '"4112"'))
    assert ("needs two people" in words(wrong.text)) is bool(confidential), "another content"


async def test_a_range_is_agreed_to_as_it_was_proposed(cell, meet, acts):
    two_people(cell, "schedule.backfill")
    schedule(cell, "nightly", cron="* * * * *")
    ada, bob = meet("ada"), meet("bob")
    first = await ada.act("schedule.backfill", schedule="nightly", since="10m", until="")
    assert "needs two people" in words(first.text)
    there = link(await bob.text("/audit/waiting"), "schedule.backfill")
    form = await bob.text(there)
    given = dict(re.findall(r'name="(schedule|since|until|shown)" value="([^"]*)"', form))
    second = await bob.act("schedule.backfill", **given)
    assert "nightly will be fired for 10 times" in words(second.text)
    assert [each[5] for each in acts()] == ["proposed", "done"]


async def test_what_no_form_does_is_given_as_a_command(cell, meet):
    details = b'{"keep_s":604800}'
    told = {"content": b"\x00", "details": details, "by": "ada", "until": "2126-01-01"}
    insert(cell, "act_proposal", act="db.retain", about="troth", **told)
    insert(cell, "act_proposal", act="of.tomorrow", about="x", **told)
    page = await meet("bob").text("/audit/waiting")
    assert 'data-copy="troth db retain --keep 604800s"' in page
    assert "/act/db.retain" not in page
    assert "of a later version" in words(page)
    assert "/act/of.tomorrow" not in page


async def test_a_form_that_would_say_something_else_is_not_offered(cell, meet):
    run = str(park(cell, Journal().done("first", 1), "bug", BUG))
    told = {
        "content": b"\x00",
        "by": "ada",
        "until": "2126-01-01",
        "act": "run.rewind",
        "about": run,
    }
    insert(cell, "act_proposal", details=b'{"from":" first ","redo_transactions":false}', **told)
    page = await meet("bob").text("/audit/waiting")
    assert "/act/run.rewind" not in page, "a form gives back texts without the spaces around them"
    assert f"""data-copy="troth run resume {run} --from ' first '\"""" in html.unescape(page)


async def test_proposals_are_withdrawn_by_their_author_or_an_admin(cell, meet, acts):
    two_people(cell, "run.cancel")
    run = str(park(cell, Journal(), "bug", BUG))
    await meet("ada").act("run.cancel", run=run)
    refused = await meet("bob").act("act.withdraw", proposal="1")
    assert refused.status_code == 403
    root = meet("root", Role.ADMIN)
    page = await root.text("/audit/waiting")
    assert "Reject…" in line(page, "q-1")
    form = await root.text(link(page, "act.withdraw"))
    assert ACTS["act.withdraw"].promise in words(form)
    answer = await root.act("act.withdraw", proposal="1", note="the wrong run")
    assert "Proposal 1 is withdrawn" in words(answer.text)
    assert (await root.act("act.withdraw", proposal="1")).status_code == 422
    assert [each[3:] for each in acts()] == [
        ("run.cancel", run, "proposed", None),
        ("act.withdraw", "1", "refused", None),
        ("act.withdraw", "1", "done", "the wrong run"),
    ]


# Rules ----------------------------------------------------------------------------------------------------------------


async def test_all_acts_are_listed_with_who_may(cell, meet):
    two_people(cell, "run.fork")
    page = await meet(role=Role.VIEWER).text("/audit/rules")
    for name, kind in ACTS.items():
        assert kind.promise in line(page, f"k-{name}")
        assert kind.least.word in line(page, f"k-{name}")
    assert "two people" in line(page, "k-run.fork")
    assert "one person" in line(page, "k-run.cancel")
    assert "as its effect says" in line(page, "k-effect.settle")
    assert "/act/act.rule" not in page


async def test_an_admin_changes_a_rule_and_lowering_it_takes_two(runs, cell, meet, acts):
    root, eve = meet("root", Role.ADMIN), meet("eve", Role.ADMIN)
    there = link(await root.text("/audit/rules"), "act.rule")
    assert "How many people an act needs" in words(await root.text(there))
    answer = await root.act("act.rule", act="run.cancel", eyes="2")
    assert "run.cancel needs two people from now on" in words(answer.text).replace("Run", "run")
    assert "needs two people" in words(
        (await meet("ada").act("run.cancel", run=runs["broken"])).text
    )
    first = await root.act("act.rule", act="run.cancel", eyes="1")
    assert "needs two people" in words(first.text), "lowering takes as many as it asks for"
    page = await eve.text("/audit/waiting")
    assert "act=run.cancel" in link(page, "act.rule")
    second = await eve.act("act.rule", act="run.cancel", eyes="1")
    assert "needs one person" in words(second.text)
    assert rows(cell, "SELECT eyes FROM {}.act_rule WHERE act = 'run.cancel'") == [(1,)]


async def test_rules_that_cannot_be(cell, meet, acts):
    root = meet("root", Role.ADMIN)
    assert (await root.act("act.rule", act="no.such", eyes="2")).status_code == 422
    assert (await root.act("act.rule", act="run.cancel", eyes="3")).status_code == 422
    settle = await root.act("act.rule", act="effect.settle", eyes="2")
    assert settle.status_code == 422
    assert "where its effect is declared" in words(settle.text)
    assert acts() == []
    assert (await meet("ada").act("act.rule", act="run.cancel", eyes="2")).status_code == 403
    assert [each[5] for each in acts()] == ["refused"]
    assert rows(cell, "SELECT * FROM {}.act_rule") == []
