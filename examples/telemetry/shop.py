"""A program that tells what it does: a page for who is on duty, traces and metrics by OpenTelemetry, and Prometheus."""

import os
import tempfile

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from troth import Call, Troth, events
from troth.integrations.otel import instrument
from troth.integrations.prometheus import Exporter

troth = Troth(directory=os.environ.get("TROTH_DIRECTORY") or tempfile.mkdtemp())

# What a program with OpenTelemetry does anyway; here, spans are printed as they end.
provider = TracerProvider()
provider.add_span_processor(
    SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: f"span   {span.name}\n"))
)
trace.set_tracer_provider(provider)

instrument(troth)
metrics = Exporter(troth)


def page(event: events.RunAttention) -> None:
    print(f"page   {event.workflow} {event.run_id}: {event.reason}: {event.message}")


troth.listen(page, events.RunAttention)


@troth.effect(delivery="at_most_once", timeout=5)
async def confirm(call: Call, order: int) -> str:
    # The span of this effect is current here: what httpx's instrumentation makes lies below it.
    span = trace.get_current_span()
    return f"order {order} is confirmed, traced: {span.get_span_context().is_valid}"


@troth.workflow
async def checkout(order: int) -> str:
    return await confirm(order)


async def main() -> None:
    async with troth.worker():
        with trace.get_tracer("shop").start_as_current_span("POST /orders"):
            run = await troth.start(checkout, 7)
        print("result", await run.result(timeout=10))
    for line in metrics.text().decode().splitlines():
        if line.startswith("troth_runs_ended_total"):
            print("metric", line)


if __name__ == "__main__":
    import asyncio

    asyncio.run(main())
