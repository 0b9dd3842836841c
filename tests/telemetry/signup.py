"""A signup whose processes are traced: `python -m tests.telemetry.signup ROLE URL SCHEMA ENDPOINT [PROVIDER]`.

*web* answers one request, which starts the signup; *worker* works until it is killed or told to stop. What a process says on
stdout is a line: what it has come to. The provider is asked by HTTP, and its client is traced as httpx's would be.
"""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from datetime import timedelta

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from troth import Call, Found, Missing, Provider, Troth, Tx
from troth.integrations.otel import instrument
from troth.worker.node import NodeOptions
from troth.worker.process import work_here

role, url, schema, endpoint, *more = sys.argv[1:]
outside = more[0] if more else ""

provider = TracerProvider(resource=Resource({"service.name": f"signup {role}"}))
# At once, so that what a process has told before it is killed is all that it had to tell.
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint)))
tracer = provider.get_tracer("signup")

troth = Troth(url, schema=schema)
instrument(troth, tracer_provider=provider)

billing = Provider("billing", lands_within=timedelta(0))


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def ask(path: str) -> str:
    with (
        tracer.start_as_current_span(f"GET {path}", kind=trace.SpanKind.CLIENT),
        urllib.request.urlopen(outside + path, timeout=30) as answer,
    ):
        return str(answer.read().decode())


@troth.transaction
async def create_account(tx: Tx, email: str) -> str:
    return email


@troth.effect(provider=billing, timeout=3)
async def create_customer(call: Call, email: str) -> str:
    return await asyncio.to_thread(ask, "/create")


@create_customer.probe
async def find_customer(call: Call, email: str) -> Found[str] | Missing:
    return Found(await asyncio.to_thread(ask, "/find"))


@troth.effect(delivery="at_most_once", timeout=5)
async def welcome(call: Call, email: str) -> str:
    return await asyncio.to_thread(ask, "/welcome")


@troth.workflow
async def signup(email: str) -> str:
    account = await create_account(email)
    customer = await create_customer(account)
    await troth.sleep(1.2)  # long enough to leave memory
    await welcome(account)
    return customer


async def answer_request() -> None:
    async with troth.client():
        with tracer.start_as_current_span("POST /signups", kind=trace.SpanKind.SERVER):
            run = await troth.start(signup, "ada@example.com", key="signup:ada")
        say(str(run.id))
        say(await run.result(60))


if role == "web":
    asyncio.run(answer_request())
else:
    work_here(troth, NodeOptions(lease_s=1.0, connections=2, threads=2))
provider.shutdown()
