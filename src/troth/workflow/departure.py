"""The moment in which an attempt leaves: until then it can be withdrawn, and nothing leaves too late."""

from __future__ import annotations

import threading
import time


class Departure:
    """May this attempt still be sent? Asked at the last moment: a `def` body may have waited for its thread."""

    def __init__(self, send_by: float) -> None:
        self._send_by = send_by
        self._lock = threading.Lock()
        self._begun = False
        self._withdrawn = False

    def begin(self) -> None:
        """In the thread of the body, just before it. Raises if it is not to run any more."""
        with self._lock:
            # This process was held up: a successor may be counting the time in which we could send.
            if self._withdrawn or time.monotonic() > self._send_by:
                raise TimeoutError
            self._begun = True

    def withdrawn(self) -> bool:
        """True if the body has not begun; then it never will."""
        with self._lock:
            self._withdrawn = not self._begun
            return self._withdrawn
