"""Queues: how many runs of some workflows may be in hand at once, and who is next. Declarations only; no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from troth.base.errors import UsageError

MOST_URGENT, LEAST_URGENT = -100, 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,119}")
_LONGEST_PARTITION = 200


@dataclass(frozen=True, slots=True)
class Queue:
    """A line in which runs wait until a worker may take them: `@troth.workflow(queue=Queue("payouts", concurrency=50))`.

    *concurrency*: so many runs of the queue at once, in all workers together; *per_partition*: so many of each partition
    (`troth.start(…, partition="tenant-1")`). None is no limit. A run counts while a worker has it in hand; one that sleeps
    or waits for a message for longer than a moment does not. Raises `UsageError` for a name or a number that cannot be.
    """

    name: str
    concurrency: int | None = None
    per_partition: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            msg = f"{self.name!r} cannot name a queue: 1 to 120 letters, digits, _ . - only"
            raise UsageError(msg)
        for what, limit in (
            ("concurrency", self.concurrency),
            ("per_partition", self.per_partition),
        ):
            if limit is not None and limit < 1:
                msg = f"queue {self.name}: {what} must be at least 1, or None for no limit, not {limit}"
                raise UsageError(msg)

    @property
    def limited(self) -> bool:
        """Has it any limit?"""
        return self.concurrency is not None or self.per_partition is not None


def check_place(
    workflow: str, queue: Queue | None, priority: int | None, partition: str | None
) -> None:
    """Raise `UsageError` for a priority or a partition that cannot be, or that a workflow without a queue has no use for."""
    if queue is None and (priority or partition is not None):
        msg = (
            f"workflow {workflow} has no queue, so priority= and partition= mean nothing: "
            "declare @troth.workflow(queue=Queue(…)), or leave them out"
        )
        raise UsageError(msg)
    if not MOST_URGENT <= (priority or 0) <= LEAST_URGENT:
        msg = f"a priority is from {MOST_URGENT} (first) to {LEAST_URGENT} (last), not {priority}"
        raise UsageError(msg)
    if partition is None:
        return
    surrogates = any("\ud800" <= character <= "\udfff" for character in partition)
    if not partition or len(partition) > _LONGEST_PARTITION or "\0" in partition or surrogates:
        msg = (
            f"a partition has 1 to {_LONGEST_PARTITION} characters, no NUL and no lone surrogate, "
            f"not {partition!r}"
        )
        raise UsageError(msg)
