"""A destination in memory, which answers as it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from troth.outbox import Delivered, Outgoing, Terms
from troth.outbox.model import Outcome

Script = Callable[[Outgoing], Outcome | Awaitable[Outcome]]


class Memory:
    def __init__(
        self, script: Script = lambda _: Delivered("ok"), *, name: str = "memory", **terms: Any
    ) -> None:
        self.name = name
        self.terms = Terms(**terms)
        self.script = script
        self.seen: list[Outgoing] = []

    def check(self, kind: str, payload: bytes, headers: Mapping[str, str]) -> None:
        pass

    async def deliver(self, message: Outgoing) -> Outcome:
        self.seen.append(message)
        outcome = self.script(message)
        return outcome if not isinstance(outcome, Awaitable) else await outcome

    async def close(self) -> None:
        pass
