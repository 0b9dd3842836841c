"""The whole program: what workers execute. `troth worker examples.signup.program:troth`."""

from examples.signup import (
    bank,
    books,
    credit,
    movements,
    people,
    plans,
    reconciling,
    statements,
    subscription,
    workflow,
)
from examples.signup.core import troth

__all__ = [
    "bank",
    "books",
    "credit",
    "movements",
    "people",
    "plans",
    "reconciling",
    "statements",
    "subscription",
    "troth",
    "workflow",
]
