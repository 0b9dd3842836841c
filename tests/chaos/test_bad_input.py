"""What is wrong is said at once, to whoever can mend it; and whatever it is, nothing is lost."""

from __future__ import annotations

import asyncio
import uuid

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.chaos.processes import Site
from tests.harness.postgres import create_database, wait_until
from troth import (
    ForeignTransactionError,
    NotInRunError,
    PayloadError,
    Troth,
    UnknownWorkflowError,
    UsageError,
)
from troth.base import codec
from troth.store.errors import (
    DatabaseUnavailable,
    SchemaAhead,
    SchemaBehind,
    SchemaError,
    SchemaMissing,
)
from troth.store.migrate import migrate


def live_runs(shop: Site) -> int:
    return int(shop.value("SELECT count(*) FROM {s}.run"))


# ── starting ────────────────────────────────────────────────────────────────────────────────────


async def test_a_workflow_of_another_troth_cannot_be_started(shop: Site) -> None:
    program, other = shop.program(), shop.program()
    async with program.troth.client() as troth:
        with pytest.raises(UnknownWorkflowError, match="order is a workflow of another Troth"):
            await troth.start(other.order, 1)
        with pytest.raises(UsageError, match=r"is not a workflow: decorate it"):
            await troth.start(asyncio.sleep, 1)
    assert live_runs(shop) == 0


WRONG: list[tuple[tuple[object, ...], str]] = [
    ((), r"order\(n: .*missing a required argument: 'n'"),
    ((1, 2), r"order\(n: .*too many positional arguments"),
    (("one",), r"order: .*Expected `int`, got `str` - at `\$\.n`"),
    ((object(),), r"order: an argument cannot be stored: .*object"),
]


async def test_wrong_arguments_start_nothing(shop: Site) -> None:
    program = shop.program()
    async with program.troth.client() as troth:
        for arguments, message in WRONG:
            with pytest.raises((UsageError, PayloadError), match=message):
                await troth.start(program.order, *arguments, key="one")  # type: ignore[arg-type]
        assert live_runs(shop) == 0
        await troth.start(program.order, 1, key="one")  # the key was not taken
    assert live_runs(shop) == 1


async def test_nothing_is_open(shop: Site) -> None:
    program = shop.program()
    with pytest.raises(UsageError, match=r"use `async with troth\.client\(\):`"):
        await program.troth.start(program.order, 1)


async def test_a_transaction_of_another_database_cannot_start_a_run(
    shop: Site, database_url: str
) -> None:
    elsewhere = create_database(database_url, f"elsewhere_{uuid.uuid4().hex[:8]}")
    migrate(elsewhere, shop.schema)  # the same schema is there too, and it is another one
    program = shop.program()
    async with program.troth.client() as troth:
        async with await psycopg.AsyncConnection.connect(elsewhere) as foreign:
            with pytest.raises(ForeignTransactionError, match="the two cannot commit together"):
                await troth.start(program.order, 1, tx=foreign)
            with pytest.raises(ForeignTransactionError, match="the two cannot commit together"):
                await troth.send("some-key", "topic", tx=foreign)
            count = await foreign.execute(f"SELECT count(*) FROM {shop.schema}.run")
            assert await count.fetchone() == (0,)
        async with await psycopg.AsyncConnection.connect(shop.url) as own:
            await troth.start(program.order, 1, tx=own)
    assert live_runs(shop) == 1
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = conninfo_to_dict(elsewhere)["dbname"]
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


# ── running ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_result_that_cannot_be_stored_parks_its_run_and_no_other(shop: Site) -> None:
    await asyncio.to_thread(shop.worker)
    program = shop.program()
    async with program.troth.client() as troth:
        runs = await asyncio.gather(*(troth.start(program.unstorable, n) for n in range(10)))
        assert [await run.result(timeout=20) for run in runs[1:]] == list(range(1, 10))
    await parked(shop, runs[0].id, "poison", at="make_socket", says="lock")


async def test_a_step_called_outside_a_run(shop: Site) -> None:
    program = shop.program()
    for step in program.troth.steps.values():
        with pytest.raises(NotInRunError, match=rf"{step.name} is a .*only by workflow code"):
            await step(1)
    with pytest.raises(NotInRunError, match=r"troth\.now belongs into workflow code"):
        program.troth.now()


async def test_a_step_called_inside_a_step_parks_its_run(shop: Site) -> None:
    await asyncio.to_thread(shop.worker)
    program = shop.program()
    async with program.troth.client() as troth:
        run = await troth.start(program.nested, 1)
        await parked(shop, run.id, "bug", at="outer", says="inside another step")
        healthy = await troth.start(program.order, 1)
        await healthy.result(timeout=20)


async def parked(shop: Site, run_id: uuid.UUID, reason: str, *, at: str, says: str) -> None:
    """The run stands in attention, for that reason, and says where and why."""
    state = "SELECT state::text, owner, reason, detail FROM {s}.run WHERE id = %s"
    await asyncio.to_thread(
        wait_until, lambda: shop.rows(state, run_id)[0][0] == "attention", "the run parks"
    )
    [(_, owner, found, detail)] = shop.rows(state, run_id)
    said = codec.decode(bytes(detail))
    assert (owner, found, said["at"]) == (None, reason, at)
    assert says in said["message"]


# ── code and schema that do not fit ─────────────────────────────────────────────────────────────


async def test_a_run_waits_for_a_worker_that_has_its_workflow(shop: Site) -> None:
    await asyncio.to_thread(shop.worker, without=["order"])
    program = shop.program()
    async with program.troth.client() as troth:
        run = await troth.start(program.order, 1)
        other = await troth.start(program.ten_steps, 1)
        await other.result(timeout=20)  # the worker is at work, and has passed over the first one
        assert shop.rows("SELECT state::text, owner, claim FROM {s}.run") == [("ready", None, 0)]
        await asyncio.to_thread(shop.worker)
        assert await run.result(timeout=20) == "charge-1-101:box-1/1"


async def test_a_takeover_by_a_worker_without_the_code_hands_the_run_on(shop: Site) -> None:
    victim = await asyncio.to_thread(shop.worker, gated=True)
    program = shop.program()
    async with program.troth.client() as troth:
        run = await troth.start(program.order, 1)
        await asyncio.to_thread(wait_until, shop.witness, "the run is in the middle")
        await asyncio.to_thread(shop.worker, without=["order"])
        victim.kill9()
        await asyncio.to_thread(shop.wait_dead, victim.id)
        assert shop.rows("SELECT state::text, owner, claim FROM {s}.run") == [("ready", None, 1)]
        await asyncio.to_thread(shop.worker)
        assert await run.result(timeout=20) == "charge-1-101:box-1/1"
    assert shop.rows("SELECT claim FROM {s}.run_history") == [(2,)]


async def opened(url: str, schema: str) -> None:
    """What both a client and a worker meet when they open; each must say the same."""
    problems = []
    for open_it in (Troth(url, schema=schema).client, Troth(url, schema=schema).worker):
        try:
            async with open_it():
                pass
        except SchemaError as problem:
            problems.append(problem)
    if problems:
        assert len(problems) == 2
        assert str(problems[0]) == str(problems[1])
        raise problems[0]


async def test_a_schema_that_is_missing_behind_or_ahead(database_url: str, schema: str) -> None:
    with pytest.raises(SchemaMissing, match=schema):
        await opened(database_url, schema)

    migrate(database_url, schema)
    await opened(database_url, schema)

    with psycopg.connect(database_url, autocommit=True) as connection:
        newest = f"(SELECT max(number) FROM {schema}.migration)"
        connection.execute(
            f"INSERT INTO {schema}.migration (number, name, sha256, by_version)"
            f" VALUES (9999, 'from_the_future', repeat('0', 64), '99.0')"
        )
        with pytest.raises(SchemaAhead, match="9999_from_the_future"):
            await opened(database_url, schema)
        connection.execute(f"DELETE FROM {schema}.migration WHERE number = {newest}")
        connection.execute(f"DELETE FROM {schema}.migration WHERE number = {newest}")
    with pytest.raises(SchemaBehind, match="migrate"):
        await opened(database_url, schema)


async def test_nobody_listens_there(schema: str) -> None:
    troth = Troth("postgresql://troth:secret@127.0.0.1:1/nowhere", schema=schema)
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1, port 1") as refused:
        async with troth.client():
            pass
    assert "secret" not in str(refused.value)
