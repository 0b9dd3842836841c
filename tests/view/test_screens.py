"""What the screens say is what there is: every row on one page and on no other, counts, ages, payloads, jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.harness.cell import Cell, open_cell
from troth.base.errors import UsageError
from troth.inbox.model import State as EventState
from troth.machine.model import UnknownObjectError
from troth.outbox.model import State as DeliveryState
from troth.schedule.model import ScheduleNotFoundError
from troth.store.connect import connect_async
from troth.store.failure import Failure, failure_of
from troth.view import (
    attention,
    decisions,
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
from troth.view.paging import PAYLOAD_LIMIT, Count
from troth.view.store import reading

pytestmark = pytest.mark.xdist_group("full")


@dataclass
class Look:
    tx: Any
    schema: str

    async def all(self, query: str, *params: Any) -> set[Any]:
        rows = await (await self.tx.execute(query.format(self.schema), params)).fetchall()
        return {row[0] for row in rows}

    async def walk(self, view: Any, *given: Any, limit: int = 37) -> list[Any]:
        """The rows of all pages."""
        found: list[Any] = []
        after = None
        for _ in range(1000):
            page = await view(self.tx, self.schema, *given, after=after, limit=limit)
            found += page.rows
            assert len(page.rows) <= limit
            assert page.cut or not page.next or len(page.rows) == limit
            after = page.next
            if after is None:
                return found
        raise AssertionError("the pages have no end")


@pytest.fixture
async def look(full, narrow) -> AsyncIterator[Look]:
    url, schema = full
    async with await connect_async(url) as connection, reading(connection, schema) as tx:
        yield Look(tx, schema)


LISTS = {
    "attention": (
        attention.attention,
        (),
        lambda line: line.run,
        "SELECT run_id FROM {}.attention",
    ),
    "attention of a person": (
        attention.attention,
        (attention.AttentionFilter(owner="ada"),),
        lambda line: line.run,
        "SELECT run_id FROM {}.attention_note WHERE claimed_by = 'ada'",
    ),
    "requests": (
        requests.requests,
        (),
        lambda line: line.id,
        "SELECT encode(id, 'hex') FROM {}.request",
    ),
    "requests of a caller": (
        requests.requests,
        (requests.RequestFilter(caller="person:7", unanswered=False),),
        lambda line: line.id,
        "SELECT encode(id, 'hex') FROM {}.request WHERE caller = 'person:7'",
    ),
    "events": (inbox.events, (), lambda line: line.seq, "SELECT seq FROM {}.inbox_event"),
    "events that are parked": (
        inbox.events,
        (inbox.InboxFilter(states=frozenset({EventState.PARKED}), source="github"),),
        lambda line: line.seq,
        "SELECT seq FROM {}.inbox_event WHERE state = 'parked' AND source = 'github'",
    ),
    "deliveries": (
        outbox.deliveries,
        (),
        lambda line: line.delivery,
        "SELECT id FROM {}.outbox_delivery",
    ),
    "dead letters": (
        outbox.deliveries,
        (outbox.OutboxFilter(states=frozenset({DeliveryState.DEAD})),),
        lambda line: line.delivery,
        "SELECT id FROM {}.outbox_delivery WHERE state = 'dead'",
    ),
    "deliveries that wait or are dead": (
        outbox.deliveries,
        (outbox.OutboxFilter(states=frozenset({DeliveryState.DEAD, DeliveryState.PENDING})),),
        lambda line: line.delivery,
        "SELECT id FROM {}.outbox_delivery WHERE state IN ('dead', 'pending')",
    ),
    "endpoints that fail": (
        outbox.endpoints,
        (outbox.EndpointFilter(failing=True),),
        lambda line: line.id,
        "SELECT id FROM {}.outbox_endpoint WHERE failing_since IS NOT NULL",
    ),
    "objects": (
        machines.objects,
        ("order",),
        lambda line: line.id,
        "SELECT id FROM {}.machine_object WHERE machine = 'order'",
    ),
    "objects in a state": (
        machines.objects,
        ("order", machines.ObjectFilter("packed")),
        lambda line: line.id,
        "SELECT id FROM {}.machine_object WHERE machine = 'order' AND state = 'packed'",
    ),
    "decisions": (decisions.decisions, (), lambda line: line.id, "SELECT id FROM {}.decision"),
    "what was denied to a principal": (
        decisions.decisions,
        (decisions.DecisionFilter(principal="p9", verdict=decisions.Verdict.DENIED),),
        lambda line: line.id,
        "SELECT id FROM {}.decision WHERE principal_id = 'p9' AND NOT allowed",
    ),
    "processes": (workers.processes, (), lambda line: line.id, "SELECT id FROM {}.worker"),
    "schedules": (schedules.schedules, (), lambda line: line.name, "SELECT name FROM {}.schedule"),
    "providers": (providers.providers, (), lambda line: line.name, "SELECT name FROM {}.provider"),
}


@pytest.mark.parametrize("name", LISTS)
async def test_every_row_is_on_one_page(look: Look, name: str) -> None:
    view, given, identity, query = LISTS[name]
    found = [identity(line) for line in await look.walk(view, *given)]
    assert len(found) == len(set(found))
    assert set(found) == await look.all(query)
    assert found


async def test_the_longest_wait_comes_first(look: Look) -> None:
    ages = [line.age_s for line in await look.walk(attention.attention)]
    assert ages == sorted(ages, reverse=True)
    assert min(ages) >= 0


async def test_a_history_is_read_from_its_end(look: Look) -> None:
    async def history(tx: Any, schema: str, *, after: str | None, limit: int) -> Any:
        story = await machines.machine_object(tx, schema, "order", "o2", after=after, limit=limit)
        return story.history

    found = [line.seq for line in await look.walk(history)]
    assert found == list(range(201, 0, -1))


async def test_counts_end_at_their_cap(look: Look) -> None:
    counts = (await machines.machines(look.tx, look.schema, "order"))[0].counts
    assert counts == dict.fromkeys(("created", "packed", "returned"), Count(100, capped=True))
    states = (await overview.counters(look.tx, look.schema)).states
    assert all(each.capped for each in states.values())
    (flow, *_) = await workers.versions(look.tx, look.schema)
    assert flow.runs.capped
    (source, *_) = await inbox.sources(look.tx, look.schema)
    assert source.settled["applied"] == Count(100, capped=True)


async def test_how_far_targets_are_behind(look: Look) -> None:
    lines = await outbox.lag(look.tx, look.schema)
    waiting = [line for line in lines if line.pending.n]
    assert {line.target for line in waiting} == await look.all(
        "SELECT DISTINCT target FROM {}.outbox_delivery WHERE state = 'pending'"
    )
    assert sum(line.dead.n + line.in_doubt.n for line in lines) == 101  # of the latest so many
    assert sum(line.pending.n for line in waiting) == 150
    assert all(line.oldest_s is not None and line.url for line in waiting)


async def test_a_chart_has_a_point_for_every_step(look: Look, monkeypatch) -> None:
    monkeypatch.setattr(overview, "_MINUTES_CAP", 50_000)
    chart = await overview.minutes(look.tx, look.schema)
    assert len(chart.points) == 61
    assert chart.since is None
    assert sum(point.started for point in chart.points) == 10 * 34 * 8 * 12
    of_one = await overview.minutes(look.tx, look.schema, workflow="flow3")
    assert sum(point.started for point in of_one.points) == 10 * 34 * 8


async def test_what_is_not_there_is_told(look: Look) -> None:
    for view, given in (
        (requests.request, ["ab" * 16]),
        (requests.request, ["../x"]),
        (inbox.event, ["stripe", "no"]),
        (outbox.message, [uuid4()]),
        (decisions.decision, [uuid4()]),
    ):
        with pytest.raises(UsageError):
            await view(look.tx, look.schema, *given)  # type: ignore[operator]


async def test_what_is_no_object_or_schedule_is_told(look: Look) -> None:
    with pytest.raises(UnknownObjectError):
        await machines.machine_object(look.tx, look.schema, "order", "no")
    with pytest.raises(ScheduleNotFoundError):
        await schedules.schedule(look.tx, look.schema, "no")


async def test_jumping_to_everything(look: Look) -> None:
    run = next(iter(await look.all("SELECT id FROM {}.run LIMIT 1")))
    decided = next(iter(await look.all("SELECT id FROM {}.decision LIMIT 1")))
    message = next(iter(await look.all("SELECT id FROM {}.outbox_message LIMIT 1")))
    endpoint = next(iter(await look.all("SELECT id FROM {}.outbox_endpoint LIMIT 1")))
    request = next(iter(await look.all("SELECT encode(id, 'hex') FROM {}.request LIMIT 1")))
    key = next(iter(await look.all("SELECT key FROM {}.start_key LIMIT 1")))
    for text, screen in {
        str(run): "run",
        f'  "{run.hex.upper()}"  ': "run",
        key: "run",
        f"{run}/charge#2~1": "effect",
        str(decided): "decision",
        str(message): "outbox_message",
        str(endpoint): "endpoint",
        request: "request",
        "key-77": "request",
        "evt_77": "event",
        "o77": "object",
        "schedule-7": "schedule",
        "provider-7": "provider",
        "worker-7": "worker",
        "flow7": "workflow",
        "p7": "principal",
    }.items():
        found = await jump.jump(look.tx, look.schema, text)
        assert [each.screen for each in found[:1]] == [screen], text
    (effect, *_) = await jump.jump(look.tx, look.schema, f"{run}/charge#2~1")
    assert (effect.within, effect.id) == (str(run), "charge#2")
    for text in (
        "",
        "   ",
        "no such thing",
        "%",
        "'; DROP TABLE x",
        "\x00",
        "x" * 5000,
        str(UUID(int=1)),
    ):
        assert await jump.jump(look.tx, look.schema, text) == ()


async def test_of_a_large_payload_the_beginning_is_read(migrated) -> None:
    url, schema = migrated
    large = b"x" * 10_000_000
    async with open_cell(url, schema) as cell:
        await cell.rows(
            "INSERT INTO {}.inbox_event (source, event_id, type, object_key, created_at, due_at, received_at, last_seen, delivered,"
            " found_by, digest, headers, body) VALUES ('s', 'e', 't', 'o', now(), now(), now(), now(), 1, 'webhook', '', '{{}}', %s)",
            large,
        )
    async with await connect_async(url) as connection, reading(connection, schema) as tx:
        hidden = await inbox.event(tx, schema, "s", "e")
        assert hidden.body is not None
        assert (hidden.body.size, hidden.body.data) == (10_000_000, None)
        shown = await inbox.event(tx, schema, "s", "e", payloads=True)
        assert shown.body is not None
        assert shown.body.data == large[:PAYLOAD_LIMIT]
        assert shown.body.cut


# Attention, as workers make it -----------------------------------------------------------------------------------------


async def test_what_waits_for_a_person(cell, runs) -> None:
    url, schema = cell
    async with await connect_async(url) as connection, reading(connection, schema) as tx:
        page = await attention.attention(tx, schema)
        by_workflow = {line.workflow: line for line in page.rows}
        groups = await overview.troubles(tx, schema)
        counts = await overview.counters(tx, schema)
    doubtful, broken = by_workflow["doubtful"], by_workflow["broken"]
    assert (doubtful.reason, doubtful.path, doubtful.stake) == ("in_doubt", "refund", None)
    assert (broken.reason, broken.path, broken.error) == ("bug", None, "builtins.ZeroDivisionError")
    assert all(0 <= line.age_s < 600 and line.owner is None for line in page.rows)
    assert counts.states["attention"] == Count(2)
    assert counts.reasons == {"in_doubt": Count(1), "bug": Count(1)}
    kinds = {(each.workflow, each.reason, each.error): each.run for each in groups}
    assert kinds["broken", "bug", "builtins.ZeroDivisionError"] == broken.run
    assert any(workflow == "refuse" and reason is None for workflow, reason, _ in kinds)


async def test_attention_begins_and_ends_with_the_state(migrated) -> None:
    url, schema = migrated
    async with open_cell(url, schema) as cell:
        run = await cell.owned_run(await cell.member())
        assert await since(cell) == []
        await cell.rows("UPDATE {}.run SET state = 'attention', reason = 'bug'")
        [(found, first)] = await since(cell)
        assert found == run
        await cell.rows("UPDATE {}.run SET state = 'attention', reason = 'poison'")
        assert await since(cell) == [(run, first)]  # it still stands there
        await cell.rows("UPDATE {}.run SET state = 'ready', reason = NULL")
        assert await since(cell) == []
        await cell.rows("UPDATE {}.run SET state = 'attention', reason = 'bug'")
        [(_, second)] = await since(cell)
        assert second > first


async def since(cell: Cell) -> list[tuple[Any, ...]]:
    return await cell.rows("SELECT run_id, since FROM {}.attention")


async def test_a_read_that_takes_too_long_is_ended_and_nothing_is_written(migrated) -> None:
    url, schema = migrated
    async with await connect_async(url) as connection:
        with pytest.raises(psycopg.errors.QueryCanceled) as caught:
            async with reading(connection, schema, 0.05) as tx:
                await tx.execute("SELECT pg_sleep(30)")
        assert failure_of(caught.value) is Failure.AGAIN
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with reading(connection, schema) as tx:
                await tx.execute(f"DELETE FROM {schema}.run")
