"""A process of its own that reconciles two sides of so many items: what it found, how long it took, what memory it had."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from tests.reconcile.planted import TERMS, WINDOW, Made
from troth import Troth
from troth.reconcile import Reconciliation, store
from troth.store.connect import pool_async


def peak_mb() -> int:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text()
    (line,) = [each for each in status.splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def forget_peak() -> int:
    """The peak begins here. (What `getrusage` says begins with the parent's.)"""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


async def main(url: str, schema: str, count: int) -> dict[str, object]:
    troth = Troth(url, schema=schema)
    books = Reconciliation(
        "planted", ours=Made("ours", 0, count), theirs=Made("theirs", 1, count), **TERMS
    )  # type: ignore[arg-type]
    (relay,) = troth.include(books).relays
    pool = pool_async(url, 1, 3)
    await pool.open()
    q = store.queries(schema)
    before = forget_peak()
    async with pool.connection() as tx:
        made = await store.ask(tx, q, "planted", WINDOW, "ada")
    assert made is not None
    begun = time.monotonic()
    await relay.look(pool)  # type: ignore[attr-defined]
    seconds = time.monotonic() - begun
    async with pool.connection() as tx:
        (line,) = await store.runs(tx, q, run=made)
        rows = await tx.execute(f"SELECT subject, kind FROM {schema}.reconcile_break")  # type: ignore[arg-type]
        breaks = dict(await rows.fetchall())
    await pool.close()
    return {
        "items": (line.ours.items if line.ours else 0) + (line.theirs.items if line.theirs else 0),
        "verdict": line.verdict, "error": line.error, "counts": line.counts, "seconds": round(seconds, 1),
        "breaks": breaks, "peak_mb": peak_mb(), "before_mb": before, "result": (line.result or b"").hex(),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))))  # noqa: T201
