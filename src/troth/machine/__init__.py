"""State that is modelled: which events lead from which state to which, said once, and kept by the database.

A `Machine` declares it. An object of a machine is a row with its state; `fire` changes it by a guarded compare-and-set in
the user's transaction, so it commits together with whatever else that does. The row is held before anything is looked
at, so two transactions that race are one after the other; what is illegal for the second raises, and writes nothing.

What comes twice counts once: every change has a *cause*, and a cause that is in the object's history is answered with
what it was answered first. What comes late is recorded and changes nothing: a *version* that is not greater than the
object's is superseded. What comes early raises `EarlyEventError`, for whoever can keep it until later. What another
system says of an object, whose truth it is, is taken over by `observe`, whichever events were lost on the way.

History is append-only, and numbered without a gap for each object.
"""

from troth.machine.fire import Machine
from troth.machine.model import (
    CauseConflictError,
    EarlyEventError,
    Entry,
    Fired,
    Firing,
    GuardRefusedError,
    IllegalTransitionError,
    ObjectExistsError,
    Standing,
    Transition,
    UnknownObjectError,
)

__all__ = [
    "CauseConflictError",
    "EarlyEventError",
    "Entry",
    "Fired",
    "Firing",
    "GuardRefusedError",
    "IllegalTransitionError",
    "Machine",
    "ObjectExistsError",
    "Standing",
    "Transition",
    "UnknownObjectError",
]
