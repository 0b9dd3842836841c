"""When to try again: exponential back-off with full jitter, bounded in number.

The jitter follows "Exponential Backoff And Jitter" (M. Brooker, AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import dataclasses
import random
from datetime import timedelta

from troth.base.errors import UsageError


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon a step is tried again after an unexpected exception.

    *attempts* counts the first try too. Waits start at *first* and grow by *factor* up to *longest*; each is
    drawn between half of that and all of it, so that many runs do not come back at the same instant. No try begins
    later than *within* after the first one, if that is given.
    """

    attempts: int = 5
    first: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    longest: timedelta = timedelta(minutes=5)
    within: timedelta | None = None

    def __post_init__(self) -> None:
        """Raise `UsageError` for values that cannot mean anything."""
        zero = timedelta(0)
        if self.attempts < 1 or self.factor < 1 or self.first < zero or self.longest < zero:
            msg = f"Retry needs attempts >= 1, factor >= 1, first >= 0 and longest >= 0, not {self}"
            raise UsageError(msg)
        if self.within is not None and self.within <= zero:
            msg = f"Retry needs within > 0, not {self.within}"
            raise UsageError(msg)

    def wait_s(
        self,
        failed_attempts: int,
        *,
        elapsed_s: float = 0.0,
        at_least_s: float = 0.0,
        draw: float | None = None,
    ) -> float | None:
        """Seconds until the next try after *failed_attempts* failures; None when there is none left.

        *elapsed_s*: since the first try began. *at_least_s*: the other side asked not to be called sooner.
        """
        if failed_attempts >= self.attempts:
            return None
        wait_s = max(self.pause_s(failed_attempts, draw=draw), at_least_s)
        if self.within is not None and elapsed_s + wait_s > self.within.total_seconds():
            return None
        return wait_s

    def pause_s(self, failed_attempts: int, *, draw: float | None = None) -> float:
        """Seconds to wait after *failed_attempts* failures, were there no limit to them."""
        longest_s = self.longest.total_seconds()
        try:
            top = min(self.first.total_seconds() * self.factor ** (failed_attempts - 1), longest_s)
        except OverflowError:  # after a thousand doublings
            top = longest_s
        share = random.random() if draw is None else draw  # noqa: S311  (jitter, not a secret)
        return top * (0.5 + share / 2)


NO_RETRY = Retry(attempts=1)
