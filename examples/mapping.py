"""A newsletter: each reader is a run of its own, and what some of them refuse does not stop the others."""

import asyncio

from troth import Mapped, Page, Refused, Troth

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
READERS = 2_500


@troth.step
async def readers(after: int | None) -> Page[int, int]:
    """A thousand of them at a time; a real one would ask the database."""
    first = after or 0
    last = min(first + 1_000, READERS)
    return Page(list(range(first, last)), last if last < READERS else None)


@troth.step
async def send(reader: int) -> None:
    if reader % 1_000 == 999:
        raise Refused(f"reader {reader} has no address")


@troth.workflow
async def letter(reader: int) -> str:
    await send(reader)
    return f"sent to {reader}"


@troth.workflow
async def newsletter() -> Mapped[str]:
    return await troth.map(letter, readers, on_error="continue")


@troth.workflow
async def preview(some: list[int]) -> list[str]:
    mapped = await troth.map(letter, some, key=lambda reader: f"preview-{reader}", results=True)
    return mapped.results


async def main() -> None:
    async with troth.worker():
        print(await (await troth.start(preview, [1, 2, 3])).result(timeout=60))
        sent = await (await troth.start(newsletter)).result(timeout=60)
        print(sent.done, "of", sent.total)
        for failure in sent.failures:
            print(failure.message)


if __name__ == "__main__":
    asyncio.run(main())
