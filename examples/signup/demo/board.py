"""What has happened so far, and a bell for whoever waits for the next thing."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

ENDED = frozenset({"succeeded", "failed", "cancelled", "attention"})


@dataclass
class Board:
    """Counts and news of one demo. Everybody writes to it, in one event loop."""

    people: int
    signed_up: dict[str, str] = field(default_factory=dict)
    """Who was accepted: address to the id of the signup."""
    ended: Counter[str] = field(default_factory=Counter)
    """How signups ended, as the service told those who asked."""
    clicks: int = 0
    retries: int = 0
    quarrels: list[str] = field(default_factory=list)
    """What an honest client should never have been told."""
    kills: list[tuple[str, int]] = field(default_factory=list)
    """Workers that were killed, with the number of runs that they held."""
    outages_s: list[float] = field(default_factory=list)
    orders: Counter[int] = field(default_factory=Counter)
    """How the bank has answered orders to pay: HTTP statuses. What it had had already is a 422."""
    faults: dict[str, int] = field(default_factory=dict)
    """How often the provider has misbehaved, by the kind of the fault."""
    states: dict[str, int] = field(default_factory=dict)
    news: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    listeners: list[Callable[[str], None]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()

    @property
    def finished(self) -> int:
        """People whose signup has ended."""
        return self.ended.total()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """News for the reader."""
        self.news.append(f"{self.seconds:5.1f} s  {text}")
        for listener in self.listeners:
            listener(self.news[-1])

    def ring(self) -> None:
        """Something was counted."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait until something is counted."""
        await self._changed.wait()
