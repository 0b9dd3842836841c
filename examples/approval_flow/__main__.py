"""A month in a moment: payouts of every age, and what the newest code made of them."""

from __future__ import annotations

import asyncio

from examples.approval_flow import v1
from examples.approval_flow.story import thirty_days
from troth.testing import Worker


async def main() -> None:
    async with Worker(v1.troth) as world:
        for name, told in (await thirty_days(world)).items():
            print(f"{name}: {'; '.join(told)}")


if __name__ == "__main__":
    asyncio.run(main())
