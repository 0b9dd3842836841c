"""troth: durable, honest backend operations on PostgreSQL.

Everything that programs need is here; packages below are the implementation. Names are loaded when they are used, so that
a command's help, the embedded server's guard and the pytest plugin do not pay for what they do not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from troth.access.program import Access as Access
    from troth.app import Run as Run
    from troth.app import Troth as Troth
    from troth.app import Update as Update
    from troth.base import events as events
    from troth.base.backoff import Retry as Retry
    from troth.base.errors import FencedError as FencedError
    from troth.base.errors import ForeignTransactionError as ForeignTransactionError
    from troth.base.errors import KeyConflictError as KeyConflictError
    from troth.base.errors import MoneyError as MoneyError
    from troth.base.errors import NotInRunError as NotInRunError
    from troth.base.errors import PayloadError as PayloadError
    from troth.base.errors import Refused as Refused
    from troth.base.errors import RunCancelledError as RunCancelledError
    from troth.base.errors import RunEndedError as RunEndedError
    from troth.base.errors import RunFailedError as RunFailedError
    from troth.base.errors import RunNotFoundError as RunNotFoundError
    from troth.base.errors import RunTimedOutError as RunTimedOutError
    from troth.base.errors import TrothError as TrothError
    from troth.base.errors import UnknownWorkflowError as UnknownWorkflowError
    from troth.base.errors import UsageError as UsageError
    from troth.base.errors import WorkflowCodeError as WorkflowCodeError
    from troth.base.money import ExchangeRate as ExchangeRate
    from troth.base.money import Money as Money
    from troth.base.money import Rounding as Rounding
    from troth.base.resources import ResourceError as ResourceError
    from troth.command.perform import Requests as Requests
    from troth.effect.model import Breaker as Breaker
    from troth.effect.model import Call as Call
    from troth.effect.model import Done as Done
    from troth.effect.model import Found as Found
    from troth.effect.model import Judgement as Judgement
    from troth.effect.model import Missing as Missing
    from troth.effect.model import Outcome as Outcome
    from troth.effect.model import Provider as Provider
    from troth.effect.model import Rate as Rate
    from troth.effect.model import Unknown as Unknown
    from troth.inbox.definition import Inbox as Inbox
    from troth.ledger.post import Ledger as Ledger
    from troth.machine.fire import Machine as Machine
    from troth.machine.model import Transition as Transition
    from troth.outbox.publish import Outbox as Outbox
    from troth.store.tx import BlockingTx as BlockingTx
    from troth.store.tx import Tx as Tx
    from troth.workflow.calls import TimedOut as TimedOut
    from troth.workflow.definition import Workflow as Workflow
    from troth.workflow.groups import Group as Group
    from troth.workflow.mapping_model import Failure as Failure
    from troth.workflow.mapping_model import MapError as MapError
    from troth.workflow.mapping_model import Mapped as Mapped
    from troth.workflow.mapping_model import Page as Page
    from troth.workflow.queue import Queue as Queue
    from troth.workflow.topics import MessageConflictError as MessageConflictError
    from troth.workflow.topics import Received as Received
    from troth.workflow.topics import Topic as Topic

_HOMES = {
    "Access": "troth.access.program",
    "BlockingTx": "troth.store.tx",
    "Breaker": "troth.effect.model",
    "Call": "troth.effect.model",
    "Done": "troth.effect.model",
    "ExchangeRate": "troth.base.money",
    "Failure": "troth.workflow.mapping_model",
    "FencedError": "troth.base.errors",
    "ForeignTransactionError": "troth.base.errors",
    "Found": "troth.effect.model",
    "Group": "troth.workflow.groups",
    "Inbox": "troth.inbox.definition",
    "Judgement": "troth.effect.model",
    "KeyConflictError": "troth.base.errors",
    "Ledger": "troth.ledger.post",
    "Machine": "troth.machine.fire",
    "MapError": "troth.workflow.mapping_model",
    "Mapped": "troth.workflow.mapping_model",
    "MessageConflictError": "troth.workflow.topics",
    "Missing": "troth.effect.model",
    "Money": "troth.base.money",
    "MoneyError": "troth.base.errors",
    "NotInRunError": "troth.base.errors",
    "Outbox": "troth.outbox.publish",
    "Outcome": "troth.effect.model",
    "Page": "troth.workflow.mapping_model",
    "PayloadError": "troth.base.errors",
    "Provider": "troth.effect.model",
    "Queue": "troth.workflow.queue",
    "Rate": "troth.effect.model",
    "Received": "troth.workflow.topics",
    "Refused": "troth.base.errors",
    "Requests": "troth.command.perform",
    "ResourceError": "troth.base.resources",
    "Retry": "troth.base.backoff",
    "Rounding": "troth.base.money",
    "Run": "troth.app",
    "RunCancelledError": "troth.base.errors",
    "RunEndedError": "troth.base.errors",
    "RunFailedError": "troth.base.errors",
    "RunNotFoundError": "troth.base.errors",
    "RunTimedOutError": "troth.base.errors",
    "TimedOut": "troth.workflow.calls",
    "Topic": "troth.workflow.topics",
    "Transition": "troth.machine.model",
    "Troth": "troth.app",
    "TrothError": "troth.base.errors",
    "Tx": "troth.store.tx",
    "Unknown": "troth.effect.model",
    "UnknownWorkflowError": "troth.base.errors",
    "Update": "troth.app",
    "UsageError": "troth.base.errors",
    "Workflow": "troth.workflow.definition",
    "WorkflowCodeError": "troth.base.errors",
    "events": "troth.base",
}

__all__ = [
    "BlockingTx",
    "Breaker",
    "Call",
    "Done",
    "ExchangeRate",
    "Failure",
    "FencedError",
    "ForeignTransactionError",
    "Found",
    "Group",
    "Judgement",
    "KeyConflictError",
    "Ledger",
    "MapError",
    "Mapped",
    "MessageConflictError",
    "Missing",
    "Money",
    "MoneyError",
    "NotInRunError",
    "Outcome",
    "Page",
    "PayloadError",
    "Provider",
    "Queue",
    "Rate",
    "Received",
    "Refused",
    "ResourceError",
    "Retry",
    "Rounding",
    "Run",
    "RunCancelledError",
    "RunEndedError",
    "RunFailedError",
    "RunNotFoundError",
    "RunTimedOutError",
    "TimedOut",
    "Topic",
    "Troth",
    "TrothError",
    "Tx",
    "Unknown",
    "UnknownWorkflowError",
    "Update",
    "UsageError",
    "Workflow",
    "WorkflowCodeError",
    "events",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module = import_module(f"{home}.{name}" if name == "events" else home)
    value = module if name == "events" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What can be had."""
    return sorted({*globals(), *_HOMES})
