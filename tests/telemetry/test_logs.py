"""Log lines say where in a run they were written: with structlog, with the standard library, in threads, too."""

from __future__ import annotations

import logging
from typing import Any

import structlog

from tests.workflow.place import QUICK, Place, soon
from troth import Call, Troth, Tx
from troth.integrations.structlog import add_run_context
from troth.workflow.context import WHERE, RunContextFilter


async def test_every_line_in_a_body_knows_its_run_step_attempt_and_worker(
    place: Place, troth: Troth
) -> None:
    lines: list[dict[str, Any]] = []

    def keep(_logger: object, _method: str, event: Any) -> str:
        lines.append(dict(event))
        raise structlog.DropEvent

    log = structlog.wrap_logger(structlog.PrintLogger(), processors=[add_run_context, keep])

    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep()
    handler.addFilter(RunContextFilter())
    plain = logging.getLogger("tests.telemetry")
    plain.addHandler(handler)

    def say(what: str) -> None:
        log.info(what)
        plain.warning(what)

    @troth.step
    async def step() -> None:
        say("step")

    @troth.step
    def threaded() -> None:
        say("threaded")

    @troth.transaction
    async def rows(tx: Tx) -> None:
        say("rows")

    @troth.effect(delivery="at_most_once", timeout=5)
    async def charge(call: Call) -> None:
        log.info("charge", run_id="its own")
        plain.warning("charge")

    @troth.workflow
    async def work() -> None:
        say("workflow")
        await step()
        await threaded()
        await rows()
        await charge()

    say("outside")
    async with troth.worker(QUICK) as opened:
        worker = opened.node.writer.worker
        run = await troth.start(work)
        await soon(run.result())
    plain.removeHandler(handler)

    inside = {"run_id": str(run.id), "workflow": "work", "attempt": 1, "worker": worker}
    assert lines == [
        {"event": "outside"},
        {"event": "workflow", "run_id": str(run.id), "workflow": "work"},
        *({"event": name, "step": name} | inside for name in ("step", "threaded", "rows")),
        {"event": "charge", "step": "charge"} | inside | {"run_id": "its own"},
    ]
    told = [tuple(getattr(record, name) for name in WHERE) for record in records]
    nowhere = ("-",) * 5
    assert told == [
        nowhere,
        (str(run.id), "work", "-", "-", "-"),
        *(
            (str(run.id), "work", name, 1, worker)
            for name in ("step", "threaded", "rows", "charge")
        ),
    ]
