"""examples/lifespan.py: one process that answers requests and executes their runs."""

import httpx

from examples.lifespan import app, troth, welcome


async def test_a_request_starts_a_run_and_tells_its_result(migrated, monkeypatch) -> None:
    monkeypatch.setattr(troth, "url", migrated[0])
    monkeypatch.setattr(troth, "schema", migrated[1])
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client,
    ):
        answers = [(await client.post("/welcome/ada")).json() for _ in range(2)]
        of_the_applications_own = await troth.start(welcome, "world", key="welcome:world")
        assert await of_the_applications_own.result(timeout=20) == "hello world"
    assert answers[0] == answers[1]
    assert answers[0]["said"] == "hello ada"
