"""DBOS Transact: a workflow with one step that charges.

What it uses, from docs.dbos.dev: an idempotency key for the workflow (`SetWorkflowID`); configurable retries of a step
(`retries_allowed`, `max_attempts`, `should_retry`) and its time limit (`timeout_seconds`); recovery at start of what the executor left
pending. A second process with the same executor id is what an orchestrator makes that believes the first to be dead.
"""

from __future__ import annotations

import asyncio

from dbos import DBOS, SetWorkflowID, WorkflowStatusString

from bench.outcomes.payment import CALL_WITHIN_S, Job, charge, find, not_charged, say

job = Job.received()
DBOS(
    config={
        "name": "outcomes",
        "system_database_url": job.database,
        "log_level": "CRITICAL",
    }
)


@DBOS.step(retries_allowed=True)
async def retried(order: str) -> str:
    return await charge(order)


@DBOS.step()  # the default: an exception goes to the workflow
async def not_retried(order: str) -> str:
    return await charge(order)


@DBOS.step(
    retries_allowed=True,
    should_retry=not_charged,
    timeout_seconds=CALL_WITHIN_S,
)
async def careful(order: str) -> str:
    return await charge(order)


# The best that we know: a stalled step is cancelled when it wakes up past its time, and then tried again, which looks again;
# ten attempts, with waits that double, take eight minutes, and so outlast an outage.
@DBOS.step(retries_allowed=True, max_attempts=10, timeout_seconds=CALL_WITHIN_S)
async def looks_first(order: str) -> str:
    return await find(order) or await charge(order)


@DBOS.step(retries_allowed=True)
async def keyed(order: str) -> str:
    # Both are the same in every attempt and after a recovery.
    return await charge(order, key=f"{DBOS.workflow_id}-{DBOS.step_id}")


@DBOS.step(retries_allowed=True, max_attempts=10, timeout_seconds=CALL_WITHIN_S)
async def keyed_and_looks_first(order: str) -> str:
    key = f"{DBOS.workflow_id}-{DBOS.step_id}"
    return await find(order) or await charge(order, key=key)


VARIANTS = {
    "plain": retried,
    "default": not_retried,
    "careful": careful,
    "look": looks_first,
    "key": keyed,
    "key and look": keyed_and_looks_first,
}


@DBOS.workflow()
async def pay(order: str, variant: str) -> str:
    return await VARIANTS[variant](order)


async def main() -> None:
    DBOS.launch()
    try:
        with SetWorkflowID(job.order):
            handle = await DBOS.start_workflow_async(pay, job.order, job.variant)
        try:
            await handle.get_result()
        except Exception as error:
            ended = await handle.get_status()
            if ended.status != WorkflowStatusString.ERROR.value:
                raise
            say("failed", error)
        else:
            say("succeeded")
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main())
