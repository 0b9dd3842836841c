"""Telling of answered requests (`request.answered`): what every adapter says in the same words."""

from __future__ import annotations

import time
from uuid import UUID

from troth.base.events import RequestAnswered
from troth.base.telemetry import Telemetry

FRESH, REPLAYED = "fresh", "replayed"
_REFUSALS = {"idempotency_key_in_use": "in_use", "idempotency_key_reused": "conflict"}


class Answering:
    """One request, from when it came to its answer. *status* and *result* are set on the way."""

    def __init__(self, telemetry: Telemetry, requests: str, method: str, route: str) -> None:
        self._telemetry = telemetry
        self._requests = requests
        self._method = method
        self._route = route
        self._began = time.perf_counter()
        self.status = 0  # nothing was sent
        self.result = FRESH
        self.run_id: UUID | None = None

    def refused(self, code: str) -> None:
        """It is answered without its handler, with a problem of this code."""
        self.result = _REFUSALS.get(code, "refused")

    def done(self) -> None:
        """It was answered."""
        if self._telemetry.on and self.status:
            seconds = time.perf_counter() - self._began
            self._telemetry.emit(
                RequestAnswered(
                    self._requests, self._method, self._route, self.status, self.result, seconds,
                    self.run_id,
                )
            )  # fmt: skip
