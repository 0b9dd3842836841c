"""troth, in one process: `python -m bench.system_troth URL SIZE…` prints the figures of one round as JSON.

BENCH_TELEMETRY says who listens: `listener` (one that does nothing), `otel` (traces and metrics, exported to nowhere), or
`sampled` (the same, with one trace of a hundred).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from bench.workloads import Size, measure
from troth import Troth
from troth.store.migrate import migrate
from troth.worker.process import spare_collector

troth = Troth(sys.argv[1] if len(sys.argv) > 1 else None, schema="bench_troth")


def listen(how: str) -> None:
    if how == "listener":
        troth.listen(lambda _event: None)
    elif how:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

        from troth.integrations.otel import instrument

        class Nowhere(SpanExporter):
            def export(self, spans: object) -> None: ...

        share = {"otel": 1.0, "sampled": 0.01}[how]
        provider = TracerProvider(sampler=ParentBasedTraceIdRatio(share))
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        instrument(troth, tracer_provider=provider, meter_provider=MeterProvider())


@troth.step
async def increment(number: int) -> int:
    return number + 1


@troth.workflow
async def sequential(steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await increment(number)
    return number


class TrothSystem:
    """Client and worker in this process."""

    def __init__(self) -> None:
        self._queued = []

    async def run_steps(self, steps: int) -> int:
        run = await troth.start(sequential, steps)
        result = await run.result()
        assert result == steps
        return result

    async def enqueue(self, count: int) -> None:
        claims = troth.node.claims
        claims.open = False  # as if the worker were away
        self._queued = await asyncio.gather(*(troth.start(sequential, 1) for _ in range(count)))
        claims.open = True

    async def drained(self) -> None:
        troth.node.claims.ask()
        await asyncio.gather(*(run.result() for run in self._queued))


async def main() -> None:
    size = Size(*map(int, sys.argv[2:]))
    listen(os.environ.get("BENCH_TELEMETRY", ""))
    migrate(troth.url or "", troth.schema)
    spare_collector()  # as `troth worker` does
    async with troth.worker():
        print(json.dumps(await measure(TrothSystem(), size)))


asyncio.run(main())
