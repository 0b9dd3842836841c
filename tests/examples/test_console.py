"""examples/console.py: an application with the console under a path of its own, and its own people."""

import re

import httpx

from examples.console import app, troth


async def test_people_of_the_application_sit_at_the_console(migrated, monkeypatch) -> None:
    monkeypatch.setattr(troth, "url", migrated[0])
    monkeypatch.setattr(troth, "schema", migrated[1])
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client,
    ):
        placed = await client.post("/orders/o-1", params={"card": "4111111111111111", "cents": 700})
        run = placed.json()["run"]
        assert (await client.get("/ops/runs")).status_code == 401

        await client.get("/sign-in", params={"name": "grace"})
        page = (await client.get(f"/ops/runs/{run}")).text
        assert "succeeded" in page
        assert "4111111111111111" not in page
        token = re.search(r'name="form_token" value="(\w+)"', page)
        assert token
        form = {"form_token": token[1], "run": run, "of": "input"}
        own = {"origin": "http://shop.test"}
        shown = (await client.post("/ops/act/payload.show", data=form, headers=own)).text
        assert "•••• 1111" in shown
        assert "4111111111111111" not in shown

        client.cookies.delete("session")
        await client.get("/sign-in", params={"name": "eve"})
        refused = await client.post("/ops/act/payload.show", data=form, headers=own)
        assert refused.status_code == 403, "a form of somebody else"
