"""Rules that make a server misbehave, repeatably.

A rule says what goes wrong (`kind`), for which requests (regular expressions over their fields), how
likely (`probability`, drawn from the rule's own generator, so the same seed and the same requests
give the same faults) and how often at most (`count`). Rules live in memory: a restarted server
behaves.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class RuleError(ValueError):
    """The rule does not make sense; the message says what to change."""


@dataclass
class Rule:
    """One fault. `seconds` is a delay for kinds that wait; `fired` counts how often it struck."""

    kind: str
    match: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    probability: float = 1.0
    seed: int = 0
    count: int | None = None
    seconds: float = 1.0
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def strikes(self, request: Mapping[str, str]) -> bool:
        """Whether the fault happens to this request; draws at most once, and counts."""
        if self.count is not None and self.fired >= self.count:
            return False
        if not all(pattern.search(request[name]) for name, pattern in self.match.items()):
            return False
        self.seen += 1
        if self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def show(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "match": {name: pattern.pattern for name, pattern in self.match.items()},
            "probability": self.probability,
            "seed": self.seed,
            "count": self.count,
            "seconds": self.seconds,
            "seen": self.seen,
            "fired": self.fired,
        }


class Faults:
    """The rules of one server, in the order they were posted; the first that strikes wins."""

    def __init__(self, kinds: tuple[str, ...], fields: tuple[str, ...]) -> None:
        self._kinds = kinds
        self._fields = fields
        self._rules: list[Rule] = []

    def add(self, posted: object) -> list[Rule]:
        """Add one rule or a list of them, all or none. Raises `RuleError`."""
        rules = [self._rule(one) for one in (posted if isinstance(posted, list) else [posted])]
        self._rules += rules
        return rules

    def draw(self, request: Mapping[str, str]) -> Rule | None:
        """The rule that strikes this request, if any."""
        return next((rule for rule in self._rules if rule.strikes(request)), None)

    def clear(self) -> None:
        self._rules.clear()

    def show(self) -> list[dict[str, Any]]:
        return [rule.show() for rule in self._rules]

    def _rule(self, posted: object) -> Rule:
        if not isinstance(posted, dict):
            raise RuleError("a rule is a JSON object")
        known = {"kind", "match", "probability", "seed", "count", "seconds"}
        if extra := sorted(set(posted) - known):
            raise RuleError(f"unknown: {', '.join(extra)}; a rule has {', '.join(sorted(known))}")
        kind = posted.get("kind")
        if kind not in self._kinds:
            raise RuleError(f"kind is one of {', '.join(self._kinds)}, not {kind!r}")
        probability = posted.get("probability", 1.0)
        if not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise RuleError("probability is a number from 0 to 1")
        seconds = posted.get("seconds", 1.0)
        if not isinstance(seconds, int | float) or seconds < 0:
            raise RuleError("seconds is a number, 0 or more")
        count, seed = posted.get("count"), posted.get("seed", 0)
        if count is not None and (not isinstance(count, int) or count < 1):
            raise RuleError("count is a whole number, 1 or more; leave it out for no limit")
        if not isinstance(seed, int):
            raise RuleError("seed is a whole number")
        match = self._match(posted.get("match", {}))
        return Rule(kind, match, float(probability), seed, count, float(seconds))

    def _match(self, posted: object) -> dict[str, re.Pattern[str]]:
        if not isinstance(posted, dict) or not set(posted) <= set(self._fields):
            raise RuleError(f"match is an object of regular expressions: {', '.join(self._fields)}")
        try:
            return {name: re.compile(str(pattern)) for name, pattern in posted.items()}
        except re.error as error:
            raise RuleError(f"match is not a regular expression: {error}") from error
