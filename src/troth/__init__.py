"""troth: durable, honest backend operations on PostgreSQL.

Everything that programs need is here; packages below are the implementation.
"""

from troth.app import Run, Troth
from troth.base.backoff import Retry
from troth.base.errors import (
    FencedError,
    ForeignTransactionError,
    KeyConflictError,
    NotInRunError,
    PayloadError,
    Refused,
    RunCancelledError,
    RunEndedError,
    RunFailedError,
    RunNotFoundError,
    TrothError,
    UnknownWorkflowError,
    UsageError,
    WorkflowCodeError,
)
from troth.effect.model import Call, Provider
from troth.store.tx import BlockingTx, Tx
from troth.workflow.definition import Workflow
from troth.workflow.run import TimedOut

__all__ = [
    "BlockingTx",
    "Call",
    "FencedError",
    "ForeignTransactionError",
    "KeyConflictError",
    "NotInRunError",
    "PayloadError",
    "Provider",
    "Refused",
    "Retry",
    "Run",
    "RunCancelledError",
    "RunEndedError",
    "RunFailedError",
    "RunNotFoundError",
    "TimedOut",
    "Troth",
    "TrothError",
    "Tx",
    "UnknownWorkflowError",
    "UsageError",
    "Workflow",
    "WorkflowCodeError",
]
