"""The lab: what any number of crashes, lost answers and retries does to a backend.

A test describes a *world* (a database, providers, a mailbox), *actors* (users whose request is a value and who ask again),
and *promises*. The lab intercepts the application's I/O in this process and explores the graph of states:

* A crash collapses state: after a process died, only what is durable is left. So the graph of states can close, and a
  closed graph speaks for any number of crashes and retries.
* What a handler does next depends only on what it has observed. So the application runs once per *local history*, the
  database and the providers once per (world, operation), and everything else is a search in memory (`search`).

The rooms: plain data and pure decisions (`model`, `faults`, `moments`, `world`, `provider`, `promise`, `search`); real
executions that fill the tables (`tables`, `database`, `request`, `memory`); the boundary, where the application's calls
are caught (`edge`); what people see (`verdict`, `report`, `session`, `plugin`).

Importing this package costs nothing: names are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from troth.lab.model import LabError as LabError
    from troth.lab.provider import Keys as Keys
    from troth.lab.provider import Provider as Provider
    from troth.lab.provider import effect as effect
    from troth.lab.provider import read as read
    from troth.lab.request import always_again as always_again
    from troth.lab.request import lost_or_5xx as lost_or_5xx
    from troth.lab.request import never_again as never_again
    from troth.lab.session import Lab as Lab
    from troth.lab.verdict import Refusal as Refusal
    from troth.lab.verdict import Verdict as Verdict
    from troth.lab.verdict import Violation as Violation

_HOMES = {
    "Keys": "provider",
    "Lab": "session",
    "LabError": "model",
    "Provider": "provider",
    "Refusal": "verdict",
    "Verdict": "verdict",
    "Violation": "verdict",
    "always_again": "request",
    "effect": "provider",
    "lost_or_5xx": "request",
    "never_again": "request",
    "read": "provider",
}

__all__ = [
    "Keys",
    "Lab",
    "LabError",
    "Provider",
    "Refusal",
    "Verdict",
    "Violation",
    "always_again",
    "effect",
    "lost_or_5xx",
    "never_again",
    "read",
]


def __getattr__(name: str) -> object:
    if home := _HOMES.get(name):
        return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
