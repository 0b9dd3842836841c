"""A trip that is booked or not at all; and a batch of payouts in which one refusal does not undo the others."""

import asyncio

from troth import Call, Refused, RunFailedError, Troth

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/


@troth.effect(delivery="at_most_once", timeout=10)
async def book(call: Call, what: str) -> str:
    if what == "no car":
        raise Refused("there is no car left")
    print(f"booked {what}", flush=True)
    return f"reservation of {what}"


@book.undo
async def cancel(call: Call, reservation: str, what: str) -> None:
    print(f"cancelled the {reservation}", flush=True)


@troth.workflow
async def trip(car: str) -> list[str]:
    flight = await book("flight")
    hotel = await book("hotel")
    return [flight, hotel, await book(car)]


@troth.workflow
async def trips(cars: list[str]) -> list[str]:
    told = []
    for car in cars:
        try:
            async with troth.saga():  # what is done inside is undone together, and alone
                await book("flight")
                await book(car)
            told.append(car)
        except Refused as refusal:
            told.append(str(refusal))
    return told


async def main() -> None:
    async with troth.worker():
        run = await troth.start(trip, "no car")
        try:
            await run.result(timeout=60)
        except RunFailedError as failed:
            print(failed.message, flush=True)
        batch = await troth.start(trips, ["a van", "no car", "a bus"])
        print(await batch.result(timeout=60), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
