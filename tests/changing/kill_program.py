"""One run of a program with patches, in a process that kills itself around a chosen flush."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from troth import Call, Troth, Tx
from troth.journal import store
from troth.worker.node import NodeOptions

LEASE_S = 60.0  # nobody takes over before the test says so
TABLE = "CREATE TABLE IF NOT EXISTS {schema}.did (run uuid, name text)"


def build(url: str, schema: str, *, patched: bool) -> tuple[Troth, Any]:
    """The older or the newer code."""
    troth = Troth(url, schema=schema)

    @troth.step
    async def step(name: str) -> str:
        return name

    @troth.transaction
    async def commit(tx: Tx, run: str, name: str) -> str:
        await tx.execute(f"INSERT INTO {schema}.did VALUES (%s, %s)", [run, name])
        return name

    @troth.effect(delivery="at_least_once", timeout=0.5)
    async def effect(call: Call, name: str) -> str:
        return name

    def new(name: str) -> bool:
        return patched and troth.patch(name)

    async def branch(run: str) -> list[str]:
        return [await commit(run, "new3" if new("three") else "old3")]

    @troth.workflow
    async def work(run: str) -> list[str]:
        told = [await commit(run, "new0" if new("zero") else "old0"), await step("a")]
        if new("one"):
            told += [await step("new1"), await commit(run, "more1")]
        else:
            told.append(await commit(run, "old1"))
        told.append(await effect("e"))
        told.append(await effect("new2" if new("two") else "old2"))
        together = await asyncio.gather(commit(run, "beside"), branch(run))
        return [*told, together[0], *together[1]]

    return troth, work


async def main(url: str, schema: str, code: str, n: int, side: str, run: str) -> None:
    troth, work = build(url, schema, patched=code == "new")
    real, count = store.flush, 0

    async def flush(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count == n and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        reply = await real(*given)
        if count == n and side == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return reply

    store.flush = flush
    async with troth.worker(NodeOptions(lease_s=LEASE_S, connections=3, threads=2)):
        started = await troth.start(work, run, key=run)
        await started.result()
        assert count > 0


if __name__ == "__main__":
    url, schema, code, n, side, run = sys.argv[1:]
    asyncio.run(main(url, schema, code, int(n), side, run))
