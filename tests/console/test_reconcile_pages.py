"""Reconciliation: how each stands, what differs, one break with its evidence, and what people do about it."""

from __future__ import annotations

import json

import pytest

from tests.console.conftest import rows, words
from tests.console.furnished import ITEM, difference, insert
from tests.console.test_workers_page import line
from troth.console import Role


@pytest.fixture
def stripe(cell) -> None:
    insert(
        cell, "reconcile", name="stripe", ours="effect charge", theirs="stripe charges", lookback="7 days", margin="1 day",
        every="1 day",
    )  # fmt: skip
    insert(
        cell, "reconcile_run", reconciliation="stripe", since="2026-11-01", until="2026-11-30", margin="1 day",
        phase="ended", verdict="breaks", ended_at="2026-11-30 01:00+00",
        held_until="2026-11-30", due_at="2026-11-30",
    )  # fmt: skip


async def test_the_list_says_how_each_stands_and_what_differs(cell, meet, stripe):
    first = difference(cell)
    difference(cell, "key:x", kind="amount", minor=5, currency="USD")
    difference(cell, "key:y", state="resolved")
    difference(cell, "statement:theirs:S7", kind="statement_arithmetic", minor=2000)
    ada = meet()
    page = await ada.text("/reconcile")
    said = line(page, "n-stripe")
    assert "effect charge beside stripe charges" in said
    assert "! breaks 2026-11-30 01:00:00" in said
    assert "30.02 EUR" in said
    assert "0.05 USD" in said
    assert "duplicate theirs" in line(page, f"b-{first}")
    assert "key:y" not in page
    only = await ada.text("/reconcile?kind=amount&name=stripe")
    assert "key:x" in only
    assert "ch_9" not in only
    assert "No breaks match" in words(await ada.text("/reconcile?owner=nobody"))
    assert "troth reconcile breaks stripe" in words(only)
    assert (await ada.get("/reconcile?kind=nonsense")).status_code == 400


async def test_one_has_the_evidence_and_its_history(cell, meet, stripe):
    number = difference(cell)
    ada = meet()
    page = words(await ada.text(f"/break?number={number}"))
    for word in (
        "10.02 EUR",
        "ch_9",
        "run/charge",
        "stripe ch_9",
        "found",
        "they have 2 items",
        "refund",
    ):
        assert word in page
    assert (await ada.get("/break?number=999")).status_code == 404
    assert (await ada.get("/break?number=x")).status_code == 400


async def test_a_break_is_explained_owned_and_opened_again(cell, meet, stripe, acts):
    number = str(difference(cell))
    ada = meet()
    assert (await ada.act("reconcile.accept", **{"break": number}, until="30d")).status_code == 422
    answer = await ada.act("reconcile.accept", **{"break": number}, until="30d", note="refunded")
    assert "is explained until then" in words(answer.text)
    assert (await ada.act("reconcile.own", **{"break": number}, owner="bob")).status_code == 200
    assert (await ada.act("reconcile.reopen", **{"break": number}, note="no")).status_code == 200
    assert (
        await ada.act("reconcile.settle", **{"break": number}, note="book it")
    ).status_code == 200
    ((state, owner, wanted),) = rows(cell, "SELECT state, owner, wanted FROM {}.reconcile_break")
    assert (state, owner) == ("open", "bob")
    assert wanted is not None
    assert [row[3] for row in acts()] == [
        "reconcile.accept", "reconcile.own", "reconcile.reopen", "reconcile.settle",
    ]  # fmt: skip
    eve = meet("eve", Role.VIEWER)
    for act in ("reconcile.accept", "reconcile.settle"):
        assert (await eve.act(act, **{"break": number}, until="30d", note="x")).status_code == 403


async def test_what_both_sides_say_is_not_taken_for_html(cell, meet, stripe):
    nasty = "<script>alert(1)</script>"
    evil = ITEM | {"id": nasty, "reference": nasty, "evidence": nasty, "key": nasty}
    number = difference(
        cell,
        f"theirs:{nasty}",
        note=nasty,
        evidence=json.dumps({"ours": [evil], "theirs": [evil], "more": 3}),
    )
    ada = meet()
    for address in ("/reconcile", f"/break?number={number}"):
        assert nasty not in await ada.text(address)
