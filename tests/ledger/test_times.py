"""Balances of the past: by when it was booked, and by when it counts; closed periods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.ledger.conftest import eur
from tests.ledger.days import a_day
from troth.ledger import ClosingError, Hold, InvalidTransferError, PostHold, Transfer

DAY = timedelta(days=1)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
async def books(books):
    await books.open("bank", side="debit")
    await books.open("sales")
    await books.open("customer", limit="debits_must_not_exceed_credits")
    return books


async def balance_by_hand(books, code: str, at: datetime) -> tuple[int, int, int, int]:
    rows = await books.rows(
        "SELECT l.side::text, sum(posted)::bigint, sum(pending)::bigint FROM {0}.ledger_leg l"
        " JOIN {0}.ledger_account a ON a.id = l.account WHERE a.code = %s AND l.booked_at <= %s GROUP BY l.side",
        code, at,
    )  # fmt: skip
    found = {side: (posted, pending) for side, posted, pending in rows}
    debit, credit = found.get("debit", (0, 0)), found.get("credit", (0, 0))
    return (debit[0], credit[0], debit[1], credit[1])


async def check_every_moment(books, *codes: str) -> int:
    """At each time at which anything was booked, and just before it, the balance is the sum of what was booked by then."""
    times = [row[0] for row in await books.rows("SELECT DISTINCT booked_at FROM {}.ledger_transfer")]  # fmt: skip
    for code in codes:
        for time in times:
            for at in (time - MOMENT, time, time + MOMENT):
                found = await books.ledger.balance(books.tx, code, at=at)
                asked = (
                    found.debits_posted,
                    found.credits_posted,
                    found.debits_pending,
                    found.credits_pending,
                )
                assert asked == await balance_by_hand(books, code, at), (code, at)
    return len(times)


async def test_a_balance_of_the_past(books):
    for number in range(12):
        await books.post(Transfer(f"t{number}", "bank", "customer", eur(number + 1)))
        if number == 5:
            await books.post(Hold("h", "customer", "sales", eur(3)))
    await books.post(PostHold("p", "h", eur(2)))
    assert await check_every_moment(books, "bank", "customer", "sales") == 14  # from the queue
    await books.fold()
    await check_every_moment(books, "bank", "customer", "sales")
    first = await books.ledger.balance(books.tx, "bank", at=APRIL - 365 * DAY)
    assert (first.debits_posted, first.version) == (0, 0)


async def test_a_balance_of_the_past_with_entries_that_came_late(books):
    """Transactions that post first and commit last: their entries come after others that were booked later."""
    late = [await books.cell.session() for _ in range(3)]
    for session in late:
        await session.execute("BEGIN")
    for number in range(9):
        await books.ledger.post(books.tx, Transfer(f"t{number}", "bank", "sales", eur(1)))
        if number % 3 == 0:
            late_one = Transfer(f"late{number}", "bank", "sales", eur(100))
            await books.ledger.post(late[number // 3], late_one)
        if number % 4 == 0 and number:
            await late[number // 4 - 1].execute("COMMIT")
            await books.fold()
    await late[2].execute("COMMIT")
    await books.fold()
    assert await books.rows("SELECT 1 FROM {}.ledger_entry WHERE late_after IS NOT NULL") != []
    await check_every_moment(books, "bank", "sales")
    for (at,) in await books.rows("SELECT DISTINCT booked_at FROM {}.ledger_transfer"):
        (line,) = await books.ledger.trial_balance(books.tx, at=at)
        by_hand = [(await balance_by_hand(books, code, at))[:2] for code in ("bank", "sales")]
        assert [(line.debits_posted, 0), (0, line.credits_posted)] == by_hand
    await books.audit()


@pytest.mark.parametrize("word", ["booked_at", "effective_at"])
async def test_a_trial_balance_of_the_past_is_the_sum_of_what_was_there(books, word: str) -> None:
    """At every time at which something was booked or counts, in each currency; before and after it is folded."""
    await a_day(books)
    ask = {"booked_at": "at", "effective_at": "effective_at"}[word]
    times = [
        row[0] for row in await books.rows(f"SELECT DISTINCT {word} FROM {{}}.ledger_transfer")
    ]

    async def found(time: datetime) -> dict[str, tuple[int, ...]]:
        lines = await books.ledger.trial_balance(books.tx, **{ask: time})
        assert all(line.is_balanced for line in lines)
        return {
            line.currency: (line.debits_posted, line.debits_pending) for line in lines if line.debits_posted or line.debits_pending
        }  # fmt: skip

    async def by_hand(time: datetime) -> dict[str, tuple[int, ...]]:
        held = "sum(l.pending)" if word == "booked_at" else "0"
        rows = await books.rows(
            f"SELECT a.currency, sum(l.posted)::bigint, {held}::bigint FROM {{0}}.ledger_leg l"
            f" JOIN {{0}}.ledger_account a ON a.id = l.account WHERE l.side = 'debit' AND l.{word} <= %s GROUP BY 1",
            time,
        )
        return {row[0]: row[1:] for row in rows if any(row[1:])}

    assert await books.count("queue") > 0
    assert len(times) > 4
    for _ in range(2):
        for at in [each + by for each in times for by in (-MOMENT, timedelta(0))]:
            assert await found(at) == await by_hand(at), at
        await books.fold()
    now = await books.ledger.trial_balance(books.tx)
    if word == "booked_at":
        assert await books.ledger.trial_balance(books.tx, at=datetime.now(UTC)) == now
    with pytest.raises(InvalidTransferError, match="zone"):
        await books.ledger.trial_balance(books.tx, **{ask: datetime(2026, 3, 1)})  # noqa: DTZ001


async def test_effective_times_are_beside_booking_times(books):
    await books.post(
        Transfer("1", "bank", "sales", eur(1), effective_at=MARCH),
        Transfer("2", "bank", "sales", eur(2), effective_at=MARCH - DAY),
        Transfer("3", "bank", "sales", eur(4), effective_at=MARCH + DAY),
        Transfer("4", "bank", "sales", eur(8)),
    )

    async def at(time: datetime) -> int:
        return (await books.ledger.balance(books.tx, "bank", effective_at=time)).posted.minor

    expected = {MARCH - 2 * DAY: 0, MARCH - DAY: 2, MARCH: 3, MARCH + DAY: 7, datetime.now(UTC) + DAY: 15}  # fmt: skip
    assert {time: await at(time) for time in expected} == expected
    await books.fold()
    assert {time: await at(time) for time in expected} == expected
    assert await books.posted("bank") == 15


async def test_a_closed_period_stays_as_it_is(books):
    await books.post(
        Transfer("1", "bank", "customer", eur(10), effective_at=MARCH - DAY),
        Transfer("2", "customer", "sales", eur(3), effective_at=MARCH + DAY),
        Transfer("3", "customer", "sales", eur(1), effective_at=MARCH - 2 * DAY),
    )
    await books.ledger.periods.close(books.tx, MARCH, by="ada", note="February")
    await books.ledger.periods.close(books.tx, MARCH, by="bob")  # it is
    assert await books.post(
        Transfer("4", "bank", "sales", eur(1), effective_at=MARCH - MOMENT),
        Transfer("5", "bank", "sales", eur(1), effective_at=MARCH),
        Hold("6", "bank", "sales", eur(1), effective_at=MARCH - DAY),
        Transfer("7", "bank", "sales", eur(1)),
    ) == ["period_closed", "created", "period_closed", "created"]
    for through in (MARCH - DAY, datetime.now(UTC) + DAY):
        with pytest.raises(ClosingError):
            await books.ledger.periods.close(books.tx, through, by="ada")
    (period,) = await books.ledger.periods.closed(books.tx)
    assert (period.through, period.by, period.note) == (MARCH, "ada", "February")


async def test_totals_of_closed_periods_spare_adding_from_the_beginning(books):
    days = [MARCH + n * DAY for n in range(-20, 60, 5)]
    for number, day in enumerate(days):
        await books.post(
            Transfer(f"a{number}", "bank", "sales", eur(2**number), effective_at=day)
        )  # fmt: skip

    async def all_days() -> list[int]:
        return [
            (await books.ledger.balance(books.tx, "bank", effective_at=day)).posted.minor
            for day in days
        ]

    expected = await all_days()
    assert expected == [2 ** (n + 1) - 1 for n in range(len(days))]
    await books.ledger.periods.close(books.tx, MARCH, by="ada")
    from troth.ledger import store
    from troth.store.plan import carry_out

    q = books.ledger.queries
    assert await carry_out(books.tx, store.check_point(q, 10)) == 0  # the queue is waited for
    await books.fold()
    assert [await carry_out(books.tx, store.check_point(q, 1)) for _ in range(3)] == [1, 1, 0]
    await books.ledger.periods.close(books.tx, APRIL, by="ada")
    assert [await carry_out(books.tx, store.check_point(q, 10)) for _ in range(2)] == [2, 0]
    rows = await books.rows(
        "SELECT through, debits_posted, from_version FROM {0}.ledger_checkpoint c JOIN {0}.ledger_account a ON a.id = c.account"
        " WHERE a.code = 'bank' ORDER BY through"
    )
    assert rows == [(MARCH, 2**4 - 1, 5), (APRIL, 2**11 - 1, 12)]
    assert await all_days() == expected
    # What is counted is what came since: without the entries before, the answer stays the same.
    async with books.tx.transaction(force_rollback=True):
        await books.tx.execute("SET LOCAL session_replication_role = replica")
        await books.tx.execute(f"DELETE FROM {books.cell.schema}.ledger_entry WHERE version < 12")
        assert (await all_days())[-5:] == expected[-5:]


async def test_times_have_their_zones(books):
    naive = datetime(2026, 3, 1)  # noqa: DTZ001
    with pytest.raises(InvalidTransferError, match="zone"):
        await books.ledger.balance(books.tx, "bank", at=naive)
    with pytest.raises(InvalidTransferError, match="zone"):
        await books.ledger.balance(books.tx, "bank", effective_at=naive)
    with pytest.raises(InvalidTransferError, match="zone"):
        await books.ledger.periods.close(books.tx, naive, by="ada")
    with pytest.raises(InvalidTransferError, match="not both"):
        await books.ledger.balance(books.tx, "bank", at=MARCH, effective_at=MARCH)
