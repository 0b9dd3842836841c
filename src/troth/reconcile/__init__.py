"""Is what we believe to have happened what the other side believes, to the cent? And if not, what exactly is the matter?

A *reconciliation* compares two *sources*: ours (effects, entries of the ledger) and theirs (a provider's list, its events, a
bank's statement). A run *reads* both sides page by page into a table (`reading`), *proves* that it has all of them
(`proof`), *compares* them in one transaction (`matching`), and *settles* the effects in doubt that their side shows
(`settling`). A run that is killed goes on where it was; its input is kept, so that its result can be computed again.

Items are the same if they have the same *effect key*; what has none goes through *rules* (`pairing`), which never choose
between two candidates. Each item is consumed once, from both directions: what is left over on either side is a *break*. An
absence counts only in a feed that is known to be complete, so an empty list is never clean. A break is about a subject that is
the same in every run: it ages, is owned, is accepted until some day, corrected by a booking, or resolved by a later run, and
a period is closed by two people when every break in it is explained.
"""

from troth.reconcile.definition import Reconciliation
from troth.reconcile.model import (
    Action,
    Break,
    BreakNotFoundError,
    BreakState,
    Item,
    Kind,
    OwnSource,
    Page,
    PeriodError,
    ReconcileError,
    Side,
    Source,
    SourceError,
    Standing,
    Statement,
    Verdict,
    Window,
)
from troth.reconcile.pairing import ByGroup, OneToOne, Parts
from troth.reconcile.rules import FeeTerms

__all__ = [
    "Action",
    "Break",
    "BreakNotFoundError",
    "BreakState",
    "ByGroup",
    "FeeTerms",
    "Item",
    "Kind",
    "OneToOne",
    "OwnSource",
    "Page",
    "Parts",
    "PeriodError",
    "ReconcileError",
    "Reconciliation",
    "Side",
    "Source",
    "SourceError",
    "Standing",
    "Statement",
    "Verdict",
    "Window",
]
