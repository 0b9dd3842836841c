"""However much there is, a page looks at little: every statement of the screens is explained on a schema that is full."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from typing import Any
from uuid import UUID

import pytest

from troth.inbox.model import State as EventState
from troth.journal.model import Reason
from troth.outbox.model import State as DeliveryState
from troth.store.connect import connect_async
from troth.store.queries import load
from troth.view import (
    attention,
    decisions,
    health,
    inbox,
    jump,
    machines,
    outbox,
    overview,
    providers,
    requests,
    schedules,
    workers,
)
from troth.view.filters import Since
from troth.view.store import reading

pytestmark = pytest.mark.xdist_group("full")

MOST_ROWS_OF_ONE_LOOK = 301
MOST_ROWS = 65_000  # of one statement, over all that it looks up
SCREENS = (
    "attention.sql",
    "decisions.sql",
    "health.sql",
    "inbox.sql",
    "jump.sql",
    "machines.sql",
    "outbox.sql",
    "overview.sql",
    "providers.sql",
    "requests.sql",
    "schedules.sql",
    "workers.sql",
)
GROWS = (
    "attention", "decision", "inbox_", "journal", "machine_", "operator_act", "outbox_attempt", "outbox_delivery",
    "outbox_message", "request", "run", "schedule_firing", "start_key", "worker_minute",
)  # fmt: skip
NOT_HERE = {("health.sql", "statements"): "this server collects no statistics of statements"}


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
            looked_at(node) > MOST_ROWS_OF_ONE_LOOK
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
    await attention.reasons(tx, schema)
    for asked in (
        requests.RequestFilter(),
        requests.RequestFilter(caller="nobody", unanswered=True, since=Since("1d")),
        requests.RequestFilter(key="key-77"),
    ):
        await deep(requests.requests, tx, schema, asked)
    found = await requests.requests(tx, schema)
    await requests.request(tx, schema, found.rows[0].id, payloads=True)
    await inbox.sources(tx, schema)
    for came in (
        inbox.InboxFilter(),
        inbox.InboxFilter(states=frozenset({EventState.QUARANTINED})),
        inbox.InboxFilter(type="none", source="stripe", object="none"),
        inbox.InboxFilter(states=frozenset({EventState.PARKED}), object="none"),
    ):
        await deep(inbox.events, tx, schema, came)
    await inbox.event(tx, schema, "github", "evt_1", payloads=True)
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
    await machines.machines(tx, schema)
    await machines.machines(tx, schema, "order")
    for state in (None, "paid", "packed"):
        page = await machines.objects(tx, schema, "order", machines.ObjectFilter(state))
        if page.next:
            await machines.objects(
                tx, schema, "order", machines.ObjectFilter(state), after=page.next
            )
    story = await machines.machine_object(tx, schema, "order", "o2", payloads=True)
    await machines.machine_object(tx, schema, "order", "o2", after=story.history.next)
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
    await health.health(tx, schema)
    await tx.execute(health.queries(schema).clock)
    for text in (str(first.id), str(UUID(int=7)), "key-9", "evt_9", "o9", "ab" * 16, "flow7"):
        await jump.jump(tx, schema, text)


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
