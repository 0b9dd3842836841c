"""A nightly job on Berlin's clock, and a report that each customer gets when the customer wants it."""

import asyncio
from datetime import date, datetime, timedelta

import psycopg

from troth import Troth
from troth.schedule import Schedules
from troth.store.connect import Database

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
schedules = troth.include(Schedules(troth))
reported = asyncio.Event()


@troth.step
async def close_books(day: date) -> None:
    print("closing the books of", day)


@troth.step
async def send_report(customer: str, until: datetime) -> None:
    print(f"the report for {customer} is on its way", flush=True)
    reported.set()


@schedules.every(
    "0 3 * * *",  # minute, hour, day of the month, month, day of the week
    tz="Europe/Berlin",
    args=lambda at: (at.date() - timedelta(days=1),),  # the day that the run is about
    overlap="skip",  # if last night's run is still at it
    catch_up=timedelta(hours=6),  # if no worker was there at 3
)
@troth.workflow
async def close_day(day: date) -> None:
    await close_books(day)


@troth.workflow
async def report(customer: str, at: datetime) -> None:
    await send_report(customer, at)


async def sign_up(tx: psycopg.AsyncConnection, customer: str, tz: str) -> None:
    async with tx.transaction():  # the customer and the schedule commit together
        await tx.execute("INSERT INTO customer (id) VALUES (%s)", (customer,))
        await schedules.create(
            tx,
            f"report:{customer}",
            report,
            "30 8 * * MON",
            tz=tz,
            args={"customer": customer},
            time_in="at",  # the parameter that gets the time that the run is for
        )


async def main() -> None:
    with Database.find() as database:
        async with (
            troth.worker(),
            await psycopg.AsyncConnection.connect(database.url, autocommit=True) as tx,
        ):
            await tx.execute("CREATE TABLE IF NOT EXISTS customer (id text PRIMARY KEY)")
            await sign_up(tx, "c1", "Asia/Tokyo")
            await schedules.change(tx, "report:c1", cron="0 18 * * FRI")
            await schedules.run(tx, "report:c1", by="ada", note="not on Friday: now")
            await reported.wait()
            await schedules.delete(tx, "report:c1")


if __name__ == "__main__":
    asyncio.run(main())
