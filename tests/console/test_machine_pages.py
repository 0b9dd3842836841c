"""Machines drawn with counts, their objects, and the history of one of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import psycopg
import pytest_asyncio

from tests.cli import program
from tests.console import kept
from tests.console.conftest import by_header, rows, words
from troth import Troth
from troth.console import Console
from troth.machine import Machine, Transition

MOVES = (
    Transition("pay", "created", "paid"),
    Transition("ship", "paid", "shipped"),
    Transition("return", ("paid", "shipped"), "returned"),
)


@pytest_asyncio.fixture
async def shop(cell, meet):
    """Somebody at the console of a program that declares a machine; and the machine, with objects."""
    url, schema = cell
    troth = Troth(url, schema=schema)
    machine = troth.include(
        Machine("order", initial="created", final={"returned"}, transitions=MOVES)
    )
    run = "019d2f7c-5e80-7000-8000-5a5b6c7d8e9f"
    kept.event(cell, "evt_7", source="a/b")
    async with await psycopg.AsyncConnection.connect(url) as tx:
        for name in ("o/1", "o/2", "o/3"):
            await machine.create(tx, name, cause=f"run:{run}", by="checkout")
        await machine.fire(
            tx, "o/1", "pay", cause="evt_7", version=2**62 + 1, data={"n": 12345678901234567890}
        )
        await machine.fire(tx, "o/1", "ship", cause="by hand", version=5, why="late")
        await machine.fire(tx, "o/2", "pay", cause=f"{run}/pay#2")
    console = Console(troth, identify=by_header)
    yield meet(app=console)
    await console._site.reach.close()


async def test_a_machine_is_drawn_with_counts_and_told_in_words(shop):
    page = await shop.text("/machines")
    assert "created 1" in words(page)
    assert "returned 0" in words(page), "also where nothing is"
    page = await shop.text("/machines/machine?machine=order")
    picture = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    assert picture
    drawn = ET.fromstring(picture[0])
    told = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"created", "paid", "shipped", "returned", "pay", "ship"} <= set(told)
    counts = [each.text for each in drawn.iter() if each.get("class") == "count"]
    assert sorted(counts, key=str) == ["0", "0", "1", "2"]
    said = words(page)
    assert "paid 2 ship → leads to shipped return → leads to returned" in said
    assert "created initial 1 pay" in said
    assert "style" not in picture[0]


async def test_objects_are_filtered_by_state_and_lead_to_their_history(shop):
    page = await shop.text("/machines/machine?machine=order&state=paid")
    found = [
        each.replace("&amp;", "&") for each in re.findall(r'href="(/machines/object[^"]*)"', page)
    ]
    assert found == [
        "/machines/object?machine=order&id=o%2F1", "/machines/object?machine=order&id=o%2F2"
    ]  # fmt: skip
    page = await shop.text(found[0])
    said = words(page)
    assert "4611686018427387905" in said, "digit for digit"
    assert "superseded: a later version was known" in said
    assert "created → to paid" in said
    assert 'href="/inbox/event?source=a%2Fb&amp;event=evt_7"' in page
    assert 'href="/runs/019d2f7c-5e80-7000-8000-5a5b6c7d8e9f"' in page
    assert not re.search(r"<a [^>]*>(<bdi>)?by hand", page)
    assert "12345678901234567890" not in page
    other = await shop.text(found[1])
    assert 'href="/runs/019d2f7c-5e80-7000-8000-5a5b6c7d8e9f"' in other


async def test_data_is_shown_by_a_recorded_act(shop, acts, cell):
    form = {"in": "object", "of": "data", "machine": "order", "id": "o/1"}
    shown = await shop.act("payload.show", **form, seq="2")
    assert "12345678901234567890" in words(shown.text)
    assert (await shop.act("payload.show", **form, seq="3")).status_code == 422
    assert (await shop.act("payload.show", **form, seq="x")).status_code == 422
    unnamed = {**form, "of": ""}
    assert (await shop.act("payload.show", **unnamed, seq="2")).status_code == 422
    assert (await shop.post("/payload", {**unnamed, "seq": "2"})).status_code == 422
    assert [act[3:6] for act in acts()] == [("payload.show", "o/1", "done")]
    assert rows(cell, "SELECT details FROM {}.operator_act") == [
        ({"of": "object", "path": "order, entry 2"},)
    ]


async def test_a_machine_of_another_program_is_told_without_a_picture(shop, meet, cell):
    ada = meet()  # of a program that declares none
    assert program.troth.parts == ()
    assert "not of this program" in words(await ada.text("/machines"))
    page = await ada.text("/machines/machine?machine=order")
    assert "it cannot be drawn" in words(page)
    assert "<svg xmlns" not in page
    assert "paid 2" in words(page)
    for path, status in {
        "/machines/machine?machine=none": 404,
        "/machines/machine": 400,
        "/machines/object?machine=order&id=none": 404,
        "/machines/object?machine=order": 400,
        "/machines/object?machine=order&id=o%2F1&after=x": 422,
    }.items():
        assert (await ada.get(path)).status_code == status, path
