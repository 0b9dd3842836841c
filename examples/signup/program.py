"""The whole program: what workers execute. `troth worker examples.signup.program:troth`."""

from examples.signup import (
    bank,
    books,
    movements,
    people,
    plans,
    reconciling,
    subscription,
    workflow,
)
from examples.signup.core import troth

__all__ = [
    "bank",
    "books",
    "movements",
    "people",
    "plans",
    "reconciling",
    "subscription",
    "troth",
    "workflow",
]
