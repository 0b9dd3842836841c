"""A console anywhere: by itself, mounted, behind a proxy; and what it says when the database is slow, away or old."""

from __future__ import annotations

import asyncio
import re

import httpx2
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.cli import program
from tests.cli.parked import Journal, park
from tests.console import kept
from tests.console.conftest import ORIGIN, by_header, words
from tests.harness.cell import until
from troth import Troth
from troth.console import Console, Role

BUG = {"at": "x", "message": "it broke"}
ADDRESS = re.compile(r'(?:href|action|src|hx-get|hx-post|data-connect)="([^"]*)"')


def mounted(path: str, **more) -> tuple[Starlette, Console]:
    console = Console(program.troth, identify=by_header, **more)
    return Starlette(routes=[Mount(path, console)]), console


@pytest.mark.parametrize("root", ["/ops", "/deep/er/ops"])
async def test_mounted_all_addresses_are_under_the_mount(root, cell, meet):
    run = park(cell, Journal().done("first", 1), "bug", BUG)
    app, console = mounted(root)
    ada = meet(root=root, app=app)
    try:
        assert (await ada.get("/")).headers["location"] == f"{root}/overview"
        message = kept.message(cell, kept.endpoint(cell))
        pages = ["/runs?state=attention", f"/runs/{run}", f"/act/run.cancel?run={run}", "/requests"]
        pages += [f"/requests/{kept.request(cell)}", "/inbox", "/outbox", "/outbox/endpoints"]
        pages += [
            f"/outbox/messages/{message}",
            "/machines",
            f"/act/outbox.resend?message={message}",
        ]
        for path in pages:
            page = await ada.text(path)
            found = [each for each in ADDRESS.findall(page) if not each.startswith("#")]
            assert found
            for each in found:
                assert each.startswith(f"{root}/"), (path, each)
                assert "//" not in each.partition("?")[0], (path, each)
        style = re.search(r'href="([^"]*app\.css[^"]*)"', page)
        assert style
        assert (await ada.http.get(style[1])).status_code == 200
        cookie = (await ada.http.get(f"{root}/runs")).headers.get("set-cookie", f"Path={root}")
        assert f"Path={root}" in cookie
        assert (await ada.act("run.cancel", run=str(run))).status_code == 200
        jumped = await ada.get(f"/jump?q={run}")
        assert jumped.headers["location"] == f"{root}/runs/{run}"
    finally:
        await console._site.reach.close()


@pytest.mark.parametrize("given", ["/ops", "/ops/", "ops"])
@pytest.mark.parametrize("stripped", [True, False])
async def test_a_proxy_may_strip_the_path_or_leave_it(given, stripped, cell, meet):
    ada = meet(base_path=given, root="" if stripped else "/ops")
    page = await ada.text("/runs")
    assert 'action="/ops/jump"' in page
    assert 'href="/ops/runs"' in page
    assert (await ada.get("/static/app.css")).status_code == 200
    assert not [each for each in ADDRESS.findall(page) if "//" in each or "/ops/ops" in each]


async def test_fastapi_serves_it_beside_its_own_routes(cell):
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/ping")
    async def ping() -> str:
        return "pong"

    console = Console(program.troth, identify=by_header)
    app.mount("/ops", console)
    headers = {"x-test-name": "ada", "x-test-role": "VIEWER"}
    transport = httpx2.ASGITransport(app=app)
    async with (
        console.open(),
        httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as http,
    ):
        assert (await http.get("/ping")).json() == "pong"
        assert "ada" in words((await http.get("/ops/runs")).text)


# The database ---------------------------------------------------------------------------------------------------------


async def test_a_question_that_takes_too_long_says_so_and_how_to_narrow_it(cell, meet):
    url, schema = cell
    ada = meet(question_s=0.2)
    await ada.text("/runs")
    with psycopg.connect(url) as holder:
        holder.execute(f"LOCK TABLE {schema}.run IN ACCESS EXCLUSIVE MODE")
        answer = await ada.get("/runs?workflow=rare")
    said = words(answer.text)
    assert answer.status_code == 503
    assert "took longer than 0.2 s" in said
    assert "Narrow it: say since when" in said
    assert 'name="workflow" value="rare"' in answer.text, "the filter is still there to be changed"
    assert (await ada.get("/runs")).status_code == 200


async def test_a_database_that_is_away_is_told_and_found_again(server):
    from troth.store.migrate import migrate

    migrate(server.url, "troth")
    console = Console(Troth(server.url, schema="troth"), identify=by_header)
    headers = {"x-test-name": "ada", "x-test-role": "VIEWER"}
    transport = httpx2.ASGITransport(app=console)
    async with (
        console.open(),
        httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as http,
    ):
        assert (await http.get("/runs")).status_code == 200
        await asyncio.to_thread(server.stop)
        away = await http.get("/runs")
        assert away.status_code == 503
        assert "The database cannot be reached" in words(away.text)
        assert "password" not in away.text
        await asyncio.to_thread(server.start)

        async def is_back() -> bool:
            return (await http.get("/runs")).status_code == 200

        await until(is_back, "the console finds the database again")


async def test_a_schema_that_is_not_there_is_told(database_url):
    console = Console(Troth(database_url, schema="nowhere"), identify=by_header)
    headers = {"x-test-name": "ada", "x-test-role": "VIEWER"}
    transport = httpx2.ASGITransport(app=console)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as http:
        answer = await http.get("/runs")
    assert answer.status_code == 503
    assert "The schema does not fit" in words(answer.text)


# How people like to read ----------------------------------------------------------------------------------------------


async def test_times_are_in_the_zone_of_the_reader_and_carry_utc(cell, meet):
    run = park(cell, Journal(), "bug", BUG)  # begun at 2023-11-14 22:13:20 UTC
    ada = meet()
    assert ">2023-11-14 22:13:20</time>" in await ada.text(f"/runs/{run}")
    ada.http.cookies.set("troth_console_zone", "Asia/Tokyo")
    page = await ada.text(f"/runs/{run}")
    assert ">2023-11-15 07:13:20</time>" in page
    assert 'datetime="2023-11-14T22:13:20+00:00"' in page
    for nonsense in ("Mars/Olympus", "../../etc/passwd", "/etc/localtime", "x" * 500, "a%00b"):
        ada.http.cookies.set("troth_console_zone", nonsense)
        assert ">2023-11-14 22:13:20</time>" in await ada.text(f"/runs/{run}")


async def test_colours_are_those_that_were_chosen(cell, meet):
    ada = meet(role=Role.VIEWER)
    for said, look in (("dark", "dark"), ("light", "light"), ('"><script>', "auto")):
        ada.http.cookies.set("troth_console_look", said)
        assert f'data-look="{look}"' in await ada.text("/runs")


# Jumping --------------------------------------------------------------------------------------------------------------


async def test_an_id_or_a_key_leads_to_its_run(cell, meet):
    run = park(cell, Journal(), "bug", BUG)
    ada = meet()
    for text in (str(run), f"  '{run}' ", run.hex):
        assert (await ada.get("/jump", params={"q": text})).headers["location"] == f"/runs/{run}"
    nothing = await ada.get("/jump", params={"q": "no such thing"})
    assert nothing.status_code == 404
    assert "Nothing found" in words(nothing.text)
    assert (await ada.get("/jump?q=%00")).status_code == 404
    assert (await ada.get("/jump?q=")).headers["location"] == "/"


async def test_whatever_has_a_page_is_jumped_to(cell, meet):
    endpoint = kept.endpoint(cell)
    message = kept.message(cell, endpoint)
    record = kept.request(cell)
    kept.event(cell, "evt_1", source="a/b&c")
    kept.made(
        cell, "machine_object", machine="order", id="o/1", state="paid", seq=1, since="2026-11-24"
    )
    ada = meet()
    for text, place in {
        str(endpoint): f"/outbox?endpoint={endpoint}",
        str(message): f"/outbox/messages/{message}",
        record: f"/requests/{record}",
        "order-1": f"/requests/{record}",
        "evt_1": "/inbox/event?source=a%2Fb%26c&event=evt_1",
        "o/1": "/machines/object?machine=order&id=o%2F1",
    }.items():
        answer = await ada.get("/jump", params={"q": text})
        assert answer.headers["location"] == place, text
        assert (await ada.get(place)).status_code == 200, place
