"""Waiting for what cannot notify us."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from examples.signup.demo.stage import StageError

PATIENCE_S = 60.0
LOOK_S = 0.1


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Look again and again. Raises `StageError` after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        if time.monotonic() > deadline:
            raise StageError(f"{what}: not within {PATIENCE_S:.0f} s")
        await asyncio.sleep(LOOK_S)
