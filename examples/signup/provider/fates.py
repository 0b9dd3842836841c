"""What becomes of a delivery: rules that an operator sets, and draws from their own generator. Pure."""

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

BACKOFF = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
TIMEOUT = 10.0


class RuleError(ValueError):
    """The rules do not make sense; the message says what to change."""


@dataclass(frozen=True)
class Rules:
    """How deliveries misbehave.

    `duplicate` is the probability of a second copy, and once more of a third. `drop` is that of never
    being sent. `reorder` delays each copy by up to so many seconds. While `hold` is set, copies wait for
    a flush. `backoff` has the seconds before each retry; after the last one a delivery has failed.
    """

    duplicate: float = 0.0
    drop: float = 0.0
    reorder: float = 0.0
    hold: bool = False
    seed: int = 0
    backoff: tuple[float, ...] = BACKOFF
    timeout: float = TIMEOUT

    def show(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Fate:
    """What becomes of one event at one endpoint: a delay in seconds for each copy; none is a drop."""

    delays: tuple[float, ...]


class Fates:
    """Draws by the rules. The same seed and the same order of events give the same fates."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._random = random.Random(rules.seed)

    def draw(self) -> Fate:
        """Always the same number of draws, so that one rule does not shift another's."""
        dropped, second, third, *delays = (self._random.random() for _ in range(6))
        if dropped < self.rules.drop:
            return Fate(())
        copies = 1 + (second < self.rules.duplicate) * (1 + (third < self.rules.duplicate))
        return Fate(tuple(delay * self.rules.reorder for delay in delays[:copies]))


def rules_of(posted: object) -> Rules:
    """The rules that were posted; what is left out is harmless. Raises `RuleError`."""
    if not isinstance(posted, Mapping):
        raise RuleError("post a JSON object")
    known = Rules().show()
    if extra := sorted(set(posted) - set(known)):
        raise RuleError(f"unknown: {', '.join(extra)}; there are {', '.join(sorted(known))}")
    given = {**known, **posted}
    if isinstance(given["reorder"], bool):
        given["reorder"] = 1.0 if given["reorder"] else 0.0
    for name, (good, what) in CHECKS.items():
        if not good(given[name]):
            raise RuleError(f"{name} is {what}")
    return Rules(**{**given, "backoff": tuple(float(seconds) for seconds in given["backoff"])})


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_probability(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def is_seconds(value: Any) -> bool:
    return is_number(value) and value >= 0


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def are_seconds(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(is_seconds(one) for one in value)


CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "duplicate": (is_probability, "a probability from 0 to 1"),
    "drop": (is_probability, "a probability from 0 to 1"),
    "reorder": (is_seconds, "a number of seconds, 0 or more, or true for 1"),
    "timeout": (is_seconds, "a number of seconds, 0 or more"),
    "hold": (lambda value: isinstance(value, bool), "true or false"),
    "seed": (is_whole, "a whole number"),
    "backoff": (are_seconds, "a list of seconds"),
}
