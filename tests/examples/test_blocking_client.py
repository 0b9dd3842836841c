"""examples/blocking_client.py, with a worker in a thread beside it."""

import asyncio
import threading

import pytest

from examples.blocking_client import app, runs, troth
from tests.workflow.place import QUICK


def test_a_request_starts_a_run_and_tells_its_result(
    migrated: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(troth, "url", migrated[0])
    monkeypatch.setattr(troth, "schema", migrated[1])
    leave, ready = threading.Event(), threading.Event()

    async def work() -> None:
        async with troth.worker(QUICK):
            ready.set()
            await asyncio.to_thread(leave.wait)

    worker = threading.Thread(target=lambda: asyncio.run(work()))
    worker.start()
    assert ready.wait(20)
    try:
        answers = [app.test_client().post("/welcome/ada").json for _ in range(2)]
    finally:
        runs.close()
        leave.set()
        worker.join()
    assert answers[0] == answers[1]
    assert answers[0]["said"] == "hello ada"
