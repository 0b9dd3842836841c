"""The whole program: what workers execute. `troth worker examples.signup.program:troth`."""

from examples.signup import people, plans, subscription, workflow
from examples.signup.core import troth

__all__ = ["people", "plans", "subscription", "troth", "workflow"]
