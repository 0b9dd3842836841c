"""However much there is, a page looks at little: every statement of the screens is explained on a schema that is full."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from importlib import resources
from typing import Any
from uuid import UUID

import pytest

from troth.base.errors import UsageError
from troth.inbox.model import State as EventState
from troth.journal.model import Reason, RunState
from troth.outbox.model import State as DeliveryState
from troth.reconcile.model import Kind as BreakKind
from troth.store.connect import connect_async
from troth.store.queries import load
from troth.view import (
    acts,
    attention,
    decisions,
    effect,
    health,
    inbox,
    jump,
    machines,
    outbox,
    overview,
    providers,
    pulse,
    reconcile,
    requests,
    run,
    runs,
    schedules,
    workers,
)
from troth.view.filters import Since
from troth.view.store import reading

pytestmark = pytest.mark.xdist_group("full")

MOST_ROWS_OF_ONE_LOOK = 301
MOST_ROWS = 65_000  # of one statement, over all that it looks up
SCREENS = (
    "acts.sql",
    "attention.sql",
    "decisions.sql",
    "effect.sql",
    "health.sql",
    "inbox.sql",
    "jump.sql",
    "machines.sql",
    "outbox.sql",
    "overview.sql",
    "providers.sql",
    "pulse.sql",
    "reconcile.sql",
    "requests.sql",
    "run.sql",
    "runs.sql",
    "schedules.sql",
    "workers.sql",
)
GROWS = (
    "attention", "decision", "inbox_", "journal", "machine_", "operator_act", "outbox_attempt", "outbox_delivery",
    "outbox_message", "reconcile_", "request", "run", "schedule_firing", "start_key", "worker_minute",
)  # fmt: skip
LONG = """
SELECT r.id FROM {}.run r WHERE EXISTS (SELECT 1 FROM {0}.journal j WHERE j.run_id = r.id AND j.path = 'step#2') LIMIT 1
""".replace("{}", "{0}")
# A run's journal has an end, and no index by time: a page of it reads all of it. Pulses look at the newest 2,000 runs.
WHOLE = {"run.sql": 3000, "pulse.sql": 3000}
NOT_HERE = {
    (
        "health.sql",
        "statements",
    ): "this server collects no statistics of statements; test_doctor_real has one that does"
}


class Watched:
    """A transaction that explains what it is asked."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.asked: dict[str, list[Any]] = {}

    async def execute(self, query: str, params: Any = None) -> Any:
        explained = await self.connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF, COSTS OFF) {query}", params
        )
        (plan,) = await explained.fetchone()
        self.asked.setdefault(query, []).append(plan[0]["Plan"])
        return await self.connection.execute(query, params)


@pytest.fixture
async def watched(full, narrow) -> AsyncIterator[tuple[Watched, str]]:
    url, schema = full
    async with await connect_async(url) as connection, reading(connection, schema) as tx:
        yield Watched(tx), schema


async def test_every_statement_of_the_screens_looks_at_no_more_than_it_may(watched) -> None:
    tx, schema = watched
    await every_screen(tx, schema)
    wide = {
        f"{node['Node Type']} of {node['Relation Name']} looked at {looked_at(node):.0f} rows, {node['Actual Loops']} times:"
        f" {query.splitlines()[0]}"
        for query, plans in tx.asked.items()
        for plan in plans
        for node in nodes(plan)
        if node.get("Relation Name", "").startswith(GROWS)
        and (
            looked_at(node) > WHOLE.get(file_of(query, schema), MOST_ROWS_OF_ONE_LOOK)
            or looked_at(node) * node["Actual Loops"] > MOST_ROWS
        )
    }
    assert not wide, "\n".join(sorted(wide))
    not_asked = {
        (file, name)
        for file in SCREENS
        for name, query in load("troth.view", schema, file).items()
        if query not in tx.asked
    }
    assert not_asked == set(NOT_HERE)


def test_no_statement_skips_rows_by_counting() -> None:
    for file in resources.files("troth.view").iterdir():
        if file.name.endswith(".sql"):
            assert "OFFSET" not in file.read_text().upper(), file.name


def file_of(query: str, schema: str) -> str:
    """The file of a statement."""
    return next(
        (file for file in SCREENS if query in load("troth.view", schema, file).values()),
        "elsewhere",
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def looked_at(node: dict[str, Any]) -> float:
    """The rows that one execution of a node has read."""
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return float(node["Actual Rows"] + sum(node.get(each, 0) for each in removed))


async def every_screen(tx: Any, schema: str) -> None:
    """Each list from the beginning, from where its first page ended, and with filters that nothing matches."""
    await overview.overview(tx, schema)
    await overview.minutes(tx, schema)
    await overview.minutes(tx, schema, overview.Span.TWO_DAYS, workflow="flow1")
    for which in (
        attention.AttentionFilter(),
        attention.AttentionFilter(reasons=frozenset({Reason.POISON}), workflow="x", owner="nobody"),
        attention.AttentionFilter(unclaimed=True),
    ):
        await deep(attention.attention, tx, schema, which)
        await attention.ids(tx, schema, which, 100)
    await attention.reasons(tx, schema)
    lines = (await attention.attention(tx, schema)).rows
    await effect.proposals(tx, schema, [replace(line, path=line.path or "x") for line in lines])
    await effect.entries(tx, schema, lines[0].run, "x")
    await tx.execute(effect.queries(schema).stands, {"id": lines[0].run})
    for asked in (
        requests.RequestFilter(),
        requests.RequestFilter(caller="nobody", unanswered=True, since=Since("1d")),
        requests.RequestFilter(key="key-77"),
    ):
        await deep(requests.requests, tx, schema, asked)
    found = await requests.requests(tx, schema)
    await requests.request(tx, schema, found.rows[0].id, payloads=True)
    await requests.payload(tx, schema, found.rows[0].id, "body")
    await events_and_deliveries(tx, schema)
    await machines.machines(tx, schema)
    await machines.machines(tx, schema, "order")
    for state in (None, "paid", "packed"):
        some = await machines.objects(tx, schema, "order", machines.ObjectFilter(state))
        if some.next:
            await machines.objects(
                tx, schema, "order", machines.ObjectFilter(state), after=some.next
            )
    object_ = await machines.machine_object(tx, schema, "order", "o2", payloads=True)
    await machines.machine_object(tx, schema, "order", "o2", after=object_.history.next)
    await machines.payload(tx, schema, "order", "o2", 1)
    await workers.workers(tx, schema)
    await workers.workers(tx, schema, workers.WorkerFilter(executes=True, worker=1))
    await workers.ahead(tx, schema)
    for decided in (
        decisions.DecisionFilter(),
        decisions.DecisionFilter(principal="p7"),
        decisions.DecisionFilter(resource="none", verdict=decisions.Verdict.DENIED),
        decisions.DecisionFilter(principal="p7", action="none"),
    ):
        await deep(decisions.decisions, tx, schema, decided)
    first = (await decisions.decisions(tx, schema)).rows[0]
    await decisions.decision(tx, schema, first.id, payloads=True)
    await decisions.inputs(tx, schema, first.id)
    await deep(schedules.schedules, tx, schema, schedules.ScheduleFilter())
    told = await schedules.schedule(tx, schema, "schedule-7")
    await schedules.schedule(tx, schema, "schedule-7", after=told.firings.next)
    await providers.providers(tx, schema)
    await providers.providers(tx, schema, name="provider-3")
    await reconcile.reconciliations(tx, schema)
    for differs in (
        reconcile.BreakFilter(),
        reconcile.BreakFilter(name="books-7"),
        reconcile.BreakFilter(owner="nobody", kinds=frozenset({BreakKind.FEE})),
    ):
        await deep(reconcile.breaks, tx, schema, differs)
    await reconcile.one_break(tx, schema, (await reconcile.breaks(tx, schema)).rows[0].id)
    await health.health(tx, schema)
    await tx.execute(health.queries(schema).clock)
    await runs_and_acts(tx, schema)
    for text in (str(first.id), str(UUID(int=7)), "key-9", "evt_9", "o9", "ab" * 16, "flow7"):
        await jump.jump(tx, schema, text)


async def events_and_deliveries(tx: Any, schema: str) -> None:
    await inbox.sources(tx, schema)
    for came in (
        inbox.InboxFilter(),
        inbox.InboxFilter(states=frozenset({EventState.QUARANTINED})),
        inbox.InboxFilter(type="none", source="stripe", object="none"),
        inbox.InboxFilter(states=frozenset({EventState.PARKED}), object="none"),
    ):
        await deep(inbox.events, tx, schema, came)
    await inbox.event(tx, schema, "github", "evt_1", payloads=True)
    await inbox.payload(tx, schema, "github", "evt_1", "body")
    story = await inbox.event(tx, schema, "github", "evt_1")
    other = story.conflicts[0].digest
    await inbox.payload(tx, schema, "github", "evt_1", "conflict", digest=other)
    await outbox.lag(tx, schema)
    for goes in (
        outbox.OutboxFilter(),
        outbox.OutboxFilter(states=frozenset({DeliveryState.DEAD})),
        outbox.OutboxFilter(states=frozenset({DeliveryState.DROPPED}), destination="none"),
        outbox.OutboxFilter(states=frozenset({DeliveryState.IN_DOUBT}), outbox="none"),
    ):
        await deep(outbox.deliveries, tx, schema, goes)
    await deep(outbox.endpoints, tx, schema, outbox.EndpointFilter(failing=True))
    line = (await outbox.deliveries(tx, schema)).rows[0]
    await outbox.deliveries(tx, schema, outbox.OutboxFilter(message=line.message))
    await outbox.message(tx, schema, line.message, payloads=True)
    await outbox.payload(tx, schema, line.message, "payload")
    with pytest.raises(outbox.MessageNotFoundError):
        await outbox.payload(tx, schema, line.message, "answer", delivery=line.delivery, claim=9)
    page = await outbox.endpoints(tx, schema)
    await outbox.endpoint(tx, schema, page.rows[0].id)
    assert (await outbox.dead(tx, schema, page.rows[0].id)).capped


async def runs_and_acts(tx: Any, schema: str) -> None:
    await acts.acts(tx, schema, scan=100)
    await acts.acts(tx, schema, acts.ActFilter(by="nobody"), scan=100)
    await acts.acts(tx, schema, acts.ActFilter(about="nothing", act="run"), scan=100)
    await acts.acts(tx, schema, acts.ActFilter(act="run"), scan=100)
    await acts.waiting(tx, schema)
    await acts.rules(tx, schema)
    for chosen in (
        runs.RunFilter(),
        runs.RunFilter(states=frozenset({RunState.FAILED}), workflow="none"),
        runs.RunFilter(key="order:70"),
    ):
        page = await runs.page(tx, schema, chosen, scan=100)
        after = UUID(page.next) if page.next else None
        await runs.page(tx, schema, chosen, after=after, scan=100)
        await runs.live_ids(tx, schema, chosen, 50)
    await runs.count(tx, schema, runs.RunFilter(), cap=100)
    (long,) = await (await tx.connection.execute(LONG.format(schema))).fetchone()
    head = await run.detail(tx, schema, long)
    for back in (False, True):
        told = await run.journal_page(tx, schema, long, back=back)
        await run.journal_page(tx, schema, long, back=back, after=told.next)
    await run.step_page(tx, schema, long, head.header.line.starts_at)
    await run.payload(tx, schema, long, "input")
    for what in ("outcome", "detail", "message"):
        with pytest.raises(UsageError):
            await run.payload(tx, schema, long, what, message=UUID(int=7))
    await run.payload(tx, schema, long, "entry", path="step#1", kind=2)
    for topic in (*pulse.TOPICS, f"run:{long}"):
        await pulse.pulse(tx, schema, topic)


async def deep(view: Any, tx: Any, schema: str, which: Any) -> None:
    page = await view(tx, schema, which)
    for _ in range(2):
        if page.next:
            page = await view(tx, schema, which, after=page.next)


def test_a_plan_that_reads_a_table_is_found() -> None:
    """The test of the test: the whole of a table, and a filter that throws most of it away."""
    plan = json.loads(
        """{"Node Type": "Limit", "Plans": [{"Node Type": "Seq Scan", "Relation Name": "decision", "Actual Rows": 1,
        "Actual Loops": 1, "Rows Removed by Filter": 5999}]}"""
    )
    (_, scan) = nodes(plan)
    assert looked_at(scan) == 6000
