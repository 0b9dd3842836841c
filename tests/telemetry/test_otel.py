"""OpenTelemetry: one connected trace, whoever starts a run and however often it changes hands; metrics by one table."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from psycopg.errors import ReadOnlySqlTransaction

from tests.telemetry.spans import Node, forest
from tests.workflow.place import QUICK, Place, soon
from troth import Call, KeyConflictError, Refused, Retry, RunFailedError, Troth
from troth.integrations.measures import TABLE
from troth.integrations.otel import instrument
from troth.schedule import Schedules
from troth.store.connect import connect_async

ONCE = Retry(attempts=2, first=timedelta(milliseconds=10), longest=timedelta(milliseconds=10))


class Eyes:
    """All that one provider has exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def nodes(self) -> list[Node]:
        return [
            Node(
                span.name,
                span.context.trace_id,
                span.context.span_id,
                span.parent.span_id if span.parent else None,
                span.kind.name,
                dict(span.attributes or {}),
                [(link.context.trace_id, link.context.span_id) for link in span.links],
                span.status.description if not span.status.is_ok else None,
            )
            for span in self.exporter.get_finished_spans()
            if span.context is not None
        ]

    def root(self, name: str) -> Node:
        [found] = [root for root in forest(self.nodes()) if root.name == name]
        return found


@pytest.fixture
def eyes() -> Iterator[Eyes]:
    made = Eyes()
    yield made
    made.provider.shutdown()


@pytest.fixture
def traced(troth: Troth, eyes: Eyes) -> Troth:
    instrument(troth, tracer_provider=eyes.provider)
    return troth


def outside(eyes: Eyes, troth: Troth) -> Any:
    """An effect whose body is traced by somebody else."""

    @troth.effect(delivery="at_most_once", timeout=5)
    async def charge(call: Call) -> str:
        with eyes.tracer.start_as_current_span("POST /charges"):
            return call.key

    return charge


async def test_a_run_is_one_trace_from_the_request_that_starts_it(
    place: Place, traced: Troth, eyes: Eyes
) -> None:
    tries = 0

    @traced.step(retry=ONCE)
    def flaky() -> int:
        nonlocal tries
        tries += 1
        with eyes.tracer.start_as_current_span("in the thread"):
            if tries == 1:
                raise ValueError("not yet")
            return 1

    @traced.transaction
    async def rows(tx: Any) -> int:
        with eyes.tracer.start_as_current_span("SELECT"):
            return 2

    charge = outside(eyes, traced)

    @traced.workflow
    async def signup() -> str:
        await flaky()
        await rows()
        return await charge()

    async with traced.worker(QUICK):
        with eyes.tracer.start_as_current_span("POST /signup"):
            run = await traced.start(signup, key="ada")
        await soon(run.result())

    root = eyes.root("POST /signup")
    start = root.find("start signup")
    assert (start.kind, start.attributes["troth.run_id"]) == ("PRODUCER", str(run.id))
    stay = start.find("run signup")
    assert stay.kind == "CONSUMER"
    assert stay.attributes | {"troth.worker": 0} == {
        "troth.run_id": str(run.id), "troth.workflow": "signup", "troth.claim": 1,
        "troth.worker": 0, "troth.because": "start", "troth.key": "ada",
    }  # fmt: skip
    assert stay.below() == [
        "step flaky", "retry flaky", "step flaky", "transaction rows", "effect charge", "end signup",
    ]  # fmt: skip
    first, _, second = stay.children[:3]
    assert (first.error, second.error) == ("ValueError: not yet", None)
    assert second.links == [(first.trace, first.span)]
    assert first.below() == second.below() == ["in the thread"]
    assert stay.find("transaction rows").below() == ["SELECT"]
    effect = stay.find("effect charge")
    assert effect.kind == "CLIENT"
    assert effect.attributes["troth.idempotency_key"] == f"{run.id}/charge"
    assert effect.attributes["troth.outcome"] == "done"
    assert effect.below() == ["POST /charges"]
    stored = place.value("SELECT trace FROM {s}.run_history WHERE id = %s", run.id)
    assert stored.startswith(f"00-{start.trace:032x}-{start.span:016x}-")
    assert int(stored[-2:], 16) & 1, "sampled"


async def test_whoever_takes_a_run_over_goes_on_with_its_trace(
    place: Place, traced: Troth, eyes: Eyes
) -> None:
    reached = asyncio.Event()

    @traced.step
    async def stands() -> None:
        reached.set()
        await asyncio.Event().wait()

    @traced.step
    async def before() -> None: ...

    @traced.workflow
    async def signup() -> None:
        await before()
        await stands()

    async with traced.worker(QUICK) as opened:
        run = await traced.start(signup)
        await soon(reached.wait())
        await place.die(opened)

    # As another process would have it: nothing is left of the first one but what it has exported and stored.
    other, later = place.troth(), Eyes()
    instrument(other, tracer_provider=later.provider)

    @other.step
    async def stands() -> None: ...  # type: ignore[no-redef]  # noqa: F811

    @other.step
    async def before() -> None: ...  # type: ignore[no-redef]  # noqa: F811

    @other.workflow
    async def signup() -> None:  # type: ignore[no-redef]
        await before()
        await stands()

    async with other.worker(QUICK):
        await soon(other.run(run.id).result())

    [start] = forest(eyes.nodes() + later.nodes())
    assert start.name == "start signup"
    first, second = start.children
    assert first.below() == ["step before", "step stands"]
    assert first.children[1].attributes["troth.outcome"] == "abandoned"
    assert second.below() == ["step stands", "end signup"]
    assert (second.attributes["troth.claim"], second.attributes["troth.because"]) == (2, "handover")


async def test_children_schedules_transactions_and_continuations_are_in_the_trace_of_their_cause(
    place: Place, traced: Troth, eyes: Eyes
) -> None:
    @traced.workflow
    async def child(n: int) -> int:
        if n > 0:
            traced.continue_as(n - 1)
        return n

    @traced.workflow
    async def parent() -> int:
        return await child(1)

    made = traced.include(Schedules(traced))

    @made.every("0 0 1 1 *")
    @traced.workflow
    async def yearly() -> None: ...

    async with traced.worker(QUICK):
        with eyes.tracer.start_as_current_span("in a transaction"):
            async with await connect_async(place.url) as tx, tx.transaction():
                run = await traced.start(parent, tx=tx)
        await soon(run.result())
        await place.until(
            lambda: place.value("SELECT count(*) FROM {s}.schedule") == 1, "it is declared"
        )
        place.rows("UPDATE {s}.schedule SET next_at = now(), look_at = now()")
        place.rows("SELECT pg_notify(%s, '')", f"{place.schema}.schedule")
        await place.until(
            lambda: place.value("SELECT count(*) FROM {s}.run_history WHERE workflow = 'yearly'"),
            "it has fired",
        )

    root = eyes.root("in a transaction")
    assert root.find("start parent").find("run parent").below()[0] == "start child"
    begun = root.find("start child")
    assert begun.below() == ["run child", "run child"]  # it went on as another run
    assert len({each.attributes["troth.run_id"] for each in begun.children}) == 2
    fired = eyes.root("start yearly")
    assert fired.below() == ["run yearly"]


async def test_a_message_links_to_whoever_sent_it(place: Place, traced: Troth, eyes: Eyes) -> None:
    @traced.step
    async def think() -> None: ...

    @traced.workflow
    async def tells(to: str) -> None:
        await traced.send(to, "go", "from a run")

    @traced.workflow
    async def listens() -> list[str]:
        said = [await traced.receive("go", str) for _ in range(3)]
        await think()
        return said

    async with traced.worker(QUICK):
        run = await traced.start(listens, key="who")
        with eyes.tracer.start_as_current_span("POST /go"):
            await traced.send(run, "go", "by itself")
        with eyes.tracer.start_as_current_span("POST /tx"):
            async with await connect_async(place.url) as tx, tx.transaction():
                await traced.send("who", "go", "in a transaction", tx=tx)
        await soon((await traced.start(tells, "who")).result())
        assert sorted(await soon(run.result())) == [
            "by itself", "from a run", "in a transaction",
        ]  # fmt: skip

    senders = {each.span: each for each in eyes.nodes() if each.name == "send go"}
    heard = [each for each in eyes.root("start listens").walk() if each.name == "hear go"]
    assert len(heard) == 3
    linked = {senders[link[1]].trace for each in heard for link in each.links}
    roots = ("POST /go", "POST /tx", "start tells")
    assert linked == {eyes.root(name).trace for name in roots}


async def test_what_goes_wrong_is_an_error_in_the_trace(
    place: Place, traced: Troth, eyes: Eyes
) -> None:
    @traced.effect(delivery="at_most_once", timeout=5, stake=lambda: "12 EUR")
    async def mail(call: Call) -> None:
        raise ConnectionResetError("reset by peer")

    @traced.workflow
    async def doubtful() -> None:
        await mail()

    @traced.workflow
    async def refused() -> None:
        raise Refused("no")

    async with traced.worker(QUICK):
        run = await traced.start(doubtful)
        await place.attention(run)
        with pytest.raises(RunFailedError):
            await soon((await traced.start(refused)).result())

    stay = eyes.root("start doubtful").find("run doubtful")
    assert stay.find("effect mail").error == "ConnectionResetError: reset by peer"
    assert stay.find("in doubt mail").error == "12 EUR"
    parked = stay.find("park doubtful")
    assert parked.attributes["troth.reason"] == "in_doubt"
    assert parked.error is not None
    assert eyes.root("start refused").find("end refused").error == "troth.base.errors.Refused"


async def test_a_key_that_has_a_run_already_says_so_and_a_start_that_fails_does_too(
    place: Place, traced: Troth, eyes: Eyes
) -> None:
    @traced.workflow
    async def work(n: int) -> None: ...

    async with traced.worker(QUICK):
        first = await traced.start(work, 1, key="k")
        again = await traced.start(work, 1, key="k")
        assert again.id == first.id
        async with await connect_async(place.url) as tx:
            with pytest.raises(KeyConflictError):
                await traced.start(work, 2, key="k", tx=tx)
            await tx.execute("SET default_transaction_read_only = on")
            with pytest.raises(ReadOnlySqlTransaction):
                await traced.start(work, 3, tx=tx)
        await soon(first.result())
    starts = [each for each in eyes.nodes() if each.name == "start work"]
    assert [each.attributes.get("troth.fresh") for each in starts] == [None, False, False, None]
    assert starts[1].attributes["troth.run_id"] == str(first.id)
    assert [each.error for each in starts] == [None, None, None, "not started"]


async def test_what_is_not_sampled_stays_so_in_every_process(place: Place, troth: Troth) -> None:
    exporter = InMemorySpanExporter()
    off = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    off.add_span_processor(SimpleSpanProcessor(exporter))
    instrument(troth, tracer_provider=off)

    @troth.step
    async def step() -> tuple[str, bool]:
        current = trace.get_current_span().get_span_context()
        return trace.format_trace_id(current.trace_id), bool(current.trace_flags.sampled)

    @troth.workflow
    async def work() -> tuple[str, bool]:
        return await step()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        current = await soon(run.result())
    stored = place.value("SELECT trace FROM {s}.run_history WHERE id = %s", run.id)
    assert int(stored[-2:], 16) & 1 == 0, "not sampled"
    assert tuple(current) == (stored[3:35], False), "what bodies call is told the decision"
    assert exporter.get_finished_spans() == ()


async def test_without_an_sdk_nothing_is_stored_and_nothing_is_current(
    place: Place, troth: Troth
) -> None:
    instrument(troth, tracer_provider=trace.NoOpTracerProvider())

    @troth.step
    async def step() -> bool:
        return trace.get_current_span().get_span_context().is_valid

    @troth.workflow
    async def work() -> bool:
        return await step()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        assert await soon(run.result()) is False
    assert place.value("SELECT trace FROM {s}.run_history WHERE id = %s", run.id) is None


async def test_metrics_have_the_names_and_labels_of_the_table(place: Place, troth: Troth) -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    instrument(troth, tracer_provider=trace.NoOpTracerProvider(), meter_provider=meters)

    @troth.step
    async def step() -> None: ...

    @troth.workflow
    async def work() -> None:
        await step()

    async with troth.worker(QUICK):
        for _ in range(3):
            await soon((await troth.start(work)).result())
    data = reader.get_metrics_data()
    assert data is not None
    points = {
        metric.name: {
            tuple(sorted((p.attributes or {}).items())): p for p in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    meters.shutdown()
    assert set(points) <= {measure.name for measure in TABLE}
    ended = points["troth.runs.ended"][("state", "succeeded"), ("workflow", "work")]
    assert ended.value == 3
    labels = (("kind", "step"), ("outcome", "done"), ("step", "step"), ("workflow", "work"))
    duration = points["troth.step.duration"][labels]
    assert duration.count == 3
    assert 0 < duration.sum < 10
