"""What troth raises. The name says whose fault it is, the message says what to do.

Few classes: one for each thing that a caller may want to tell apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class TrothError(Exception):
    """The root of everything that troth raises on purpose."""


class UsageError(TrothError):
    """The calling code is wrong: a definition, an argument, or the place of a call. Retrying cannot help."""


class NotInRunError(UsageError):
    """A step, or something that only a workflow may do, was called outside a running workflow."""


class UnknownWorkflowError(UsageError):
    """The name of a workflow that this `Troth` does not define."""


class PayloadError(UsageError):
    """A value cannot become JSON, or JSON does not have the type that the code asks for."""


class MoneyError(TrothError, ValueError):
    """An amount, a currency or a rate that cannot be: a float, two currencies in one sum, a part of the smallest unit."""


class WorkflowCodeError(UsageError):
    """Workflow code did something that replay cannot repeat (a clock, a timer, I/O) outside a step."""


class ForeignTransactionError(UsageError):
    """The `tx` belongs to another database than troth's schema, so the two cannot commit together."""


class KeyConflictError(TrothError):
    """The start key was used before with another workflow or another input.

    `run_id` is the run that owns the key; `differences` maps a parameter to its (first, second) JSON values.
    """

    def __init__(
        self, key: str, run_id: UUID, differences: dict[str, tuple[object, object]]
    ) -> None:
        named = "; ".join(f"{name}: {a!r} then, {b!r} now" for name, (a, b) in differences.items())
        super().__init__(
            f"the key {key!r} already started run {run_id} with another input ({named}). "
            "Use another key for another operation, or the same input to get the same run."
        )
        self.key = key
        self.run_id = run_id
        self.differences = differences


class RunNotFoundError(TrothError):
    """No run has this id or key in this schema."""


class RunEndedError(TrothError):
    """The run has already ended, so it cannot take the message or the cancellation."""


class RunFailedError(TrothError):
    """The run ended as `failed`: a business answer, not a bug. `__cause__` is the exception, if it could be restored."""

    def __init__(self, run_id: UUID, error_type: str, message: str) -> None:
        super().__init__(f"run {run_id} failed: {error_type}: {message}")
        self.run_id = run_id
        self.error_type = error_type
        self.message = message


class RunCancelledError(TrothError):
    """The run ended as `cancelled`."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__(f"run {run_id} was cancelled")
        self.run_id = run_id


class RunTimedOutError(TrothError):
    """The run had not ended when its deadline had passed: it has failed, and was undone."""

    def __init__(self, run_id: UUID, deadline: datetime) -> None:
        super().__init__(f"run {run_id} has not ended by {deadline:%Y-%m-%d %H:%M:%S} UTC")
        self.run_id = str(run_id)
        self.deadline = deadline.isoformat()


class Refused(Exception):
    """Raise it in a step to give a business answer: no. The run fails and is not retried.

    Not a `TrothError`: it belongs to the user's vocabulary, and `except TrothError` must not swallow it.
    """


class FencedError(TrothError):
    """This process was declared dead and its runs belong to others: nothing it wrote since then counts."""


class HistoryLostError(TrothError):
    """The database has lost a commit that it had acknowledged (a failover or a restore)."""
