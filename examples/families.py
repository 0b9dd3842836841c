"""An order of several parcels: each is a run of its own, and is taken back if the order cannot be completed."""

import asyncio
from datetime import timedelta

from troth import Refused, RunFailedError, Troth

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/


@troth.step
async def say(words: str) -> None:
    print(words, flush=True)


@troth.workflow(timeout=timedelta(days=14))  # else it fails, and is undone
async def parcel(to: str, weight: int) -> str:
    if weight > 30:
        raise Refused(f"the parcel to {to} is too heavy")
    await say(f"booked a parcel to {to}")
    return f"booking-{to}"


@parcel.undo  # a run, too; it gets the result and the arguments
async def take_back(booking: str, to: str, weight: int) -> None:
    await say(f"took {booking} back")


@troth.workflow
async def order(parcels: dict[str, int]) -> list[str]:
    bookings = [await parcel(to, weight) for to, weight in parcels.items()]
    await troth.start(survey, "how was it?", detached=True)  # goes on when this has ended
    return bookings


@troth.workflow
async def survey(question: str) -> None:
    await say(question)


@troth.workflow
async def countdown(left: int) -> str:
    """A loop that may take for ever, with a journal that stays short."""
    for _ in range(min(left, 100)):
        await troth.sleep(0.001)
    if left > 100:
        return troth.continue_as(left - 100)
    return "lift-off"


async def main() -> None:
    async with troth.worker():
        run = await troth.start(order, {"Ada": 2, "Bob": 3})
        print(await run.result(timeout=60))
        try:
            await (await troth.start(order, {"Cay": 1, "Dan": 99})).result(timeout=60)
        except RunFailedError as error:
            print(error.message)
        print(await (await troth.start(countdown, 250)).result(timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
