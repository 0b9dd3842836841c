"""examples/def_workflow.py, with a worker in a thread beside it."""

import asyncio
import threading
import uuid

import pytest

from examples.def_workflow import book, main, troth
from tests.harness.postgres import create_database
from tests.workflow.place import QUICK
from troth import RunFailedError, blocking
from troth.store.migrate import migrate


def test_it_books_and_what_is_not_paid_is_released(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = create_database(database_url, f"def_workflow_{uuid.uuid4().hex[:8]}")
    migrate(url, "troth")
    monkeypatch.setattr(troth, "url", url)
    leave, ready = threading.Event(), threading.Event()

    async def work() -> None:
        async with troth.worker(QUICK):
            ready.set()
            await asyncio.to_thread(leave.wait)

    worker = threading.Thread(target=lambda: asyncio.run(work()))
    worker.start()
    assert ready.wait(20)
    try:
        assert main(2).endswith("to ada@example.com")
        with blocking.client(troth) as client:
            run = client.start(book, "bob@example.com", 3)
            client.send(run, "paid", value=False)
            with pytest.raises(RunFailedError, match="not paid"):
                run.result(timeout=20)
    finally:
        leave.set()
        worker.join()
