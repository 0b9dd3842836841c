"""What a search learns about the code as it goes, and must have known from its start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Habits:
    """What was learned about the code, and must be known from the start.

    `uses_random`: it draws from the `random` module, which is seeded per attempt. `derives`: a time or a random value reaches the world
    in a form that cannot be recognised there, so that none may ever be given out again.
    """

    uses_random: bool = False
    derives: bool = False


class Relearn(Exception):
    """A habit was learned too late: begin again with it."""

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
