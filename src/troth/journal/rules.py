"""Who is dead? Decided from heartbeats, on this process's own monotonic clock. Pure.

A peer is dead when its beat has not changed for its whole lease. Time in which this process did not reach the
database itself does not count: after an outage everybody looks silent, and nobody is.
"""

from __future__ import annotations

from collections.abc import Iterable


class PeerWatch:
    """Remembers the beats of all peers and how long each has been silent, in seconds that count."""

    def __init__(self, interval_s: float) -> None:
        """*interval_s* is how often this process looks; longer gaps count as one look."""
        self._most_s = 2 * interval_s
        self._looked_at: float | None = None
        self._silent: dict[int, tuple[int, float]] = {}

    def observe(
        self, now_s: float, peers: Iterable[tuple[int, int, float]]
    ) -> list[tuple[int, int]]:
        """Take what one heartbeat saw, (id, beat, lease_s) each, at monotonic *now_s*; the dead as (id, beat)."""
        passed = 0.0 if self._looked_at is None else min(now_s - self._looked_at, self._most_s)
        self._looked_at = now_s
        seen: dict[int, tuple[int, float]] = {}
        dead: list[tuple[int, int]] = []
        for peer, beat, lease_s in peers:
            last_beat, silent_s = self._silent.get(peer, (beat, -passed))
            silent_s = silent_s + passed if beat == last_beat else 0.0
            seen[peer] = (beat, silent_s)
            if silent_s >= lease_s:
                dead.append((peer, beat))
        self._silent = seen
        return dead
