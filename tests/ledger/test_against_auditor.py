"""Random programs of several transactions, crashes and repeats: the ledger answers as an independent auditor does."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.ledger.programs import Bench, long_programs
from troth.ledger.verify import verify
from troth.store.connect import connect_async
from troth.store.isolation import transaction_async

log = logging.getLogger(__name__)

UNHURRIED = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}


@pytest.fixture
def bench(migrated) -> Iterator[Bench]:
    opened = Bench(*migrated)
    yield opened
    opened.close()


async def test_the_ledger_answers_as_the_auditor_does(bench: Bench) -> None:
    @settings(max_examples=20, database=None, phases=[Phase.generate], **UNHURRIED)
    @given(long_programs)
    def no_difference(program) -> None:
        bench.run(program)

    no_difference()
    assert bench.items > 300
    await is_sound(bench)


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_hundred_thousand_items_make_no_difference(bench: Bench) -> None:
    @settings(max_examples=100, database=None, **UNHURRIED)
    @given(long_programs)
    def no_difference(program) -> None:
        bench.run(program)

    while bench.items < 100_000:
        no_difference()
        log.info("%s items in %s programs", bench.items, bench.programs)
    log.info("%s", dict(sorted(bench.outcomes.items())))
    await is_sound(bench)


async def is_sound(bench: Bench) -> None:
    await is_sound_at(bench.url, bench.schema)


async def is_sound_at(url: str, schema: str) -> None:
    async with (
        await connect_async(url) as connection,
        transaction_async(connection, "repeatable read"),
    ):
        report = await verify(connection, schema)
    assert report.is_sound, report.findings
