"""Was this task told to stop?"""

from __future__ import annotations

import asyncio


def told_to_stop() -> bool:
    """Was the running task cancelled? On Python 3.11 `asyncio.wait_for` may lose the exception that says so.

    Pools and drivers use it, so whatever loops for ever asks here, too.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
