"""Redis as a model: keys, their values, and in which order they run out. Pure, over plain data.

A key with a time to live may run out at any moment from when it was set, but never before one that was set earlier for a shorter
time. How long is left is not part of the state, so code that asks for it is refused. That a model does what a server does, command
by command, is a test against a real one.
"""

from __future__ import annotations

from collections.abc import ItemsView
from datetime import timedelta
from typing import Any

from troth.lab import redis_commands
from troth.lab.model import Observation, Op, Outcome
from troth.lab.redis_commands import Item, Reply, Stored
from troth.lab.world import decode, encode

SLOW = timedelta(hours=1)
"""For so long an attempt may be at work at the most: what lives longer runs out between attempts only."""

_LOST = Observation(("Connection closed by server.",), "lost")
_DOWN = Observation(("Connection refused",), "down")


def _fault(name: str, observation: Observation, word: str, *, happens: bool) -> Outcome:
    return Outcome(name, happens, "error", observation, cost=1, survived=True, word=word)


ANSWERED = Outcome("answered", happens=True, told="answer")
LOST_DONE = _fault("connection lost after it was done", _LOST, "lost answer", happens=True)
LOST_NOT = _fault("connection lost, not done", _LOST, "lost connection", happens=False)
DOWN_DONE = _fault("done, and from then on nobody answers", _DOWN, "lost answer", happens=True)
DOWN_NOT = _fault("nobody answers any more, not done", _DOWN, "refused connection", happens=False)


class Keys:
    """Redis as promises see it: `w.redis["name"]`, `"name" in w.redis`, `len(w.redis)`. Values are text, or lists, sets and dicts of it."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self._values = {one["key"]: _shown(one["value"]) for one in items}

    def __getitem__(self, key: str) -> Any:
        return self._values.get(key)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> ItemsView[str, Any]:
        """Each key with its value."""
        return self._values.items()


class Redis:
    """One Redis of the world, wherever the application connects to.

    Args:
        name: what promises call it.
    """

    def __init__(self, name: str = "redis") -> None:
        self.name = name

    def initial(self) -> bytes:
        """Empty."""
        return _packed({})

    def view(self, part: bytes) -> Keys:
        """The keys as promises see them."""
        return Keys(decode(part)["objects"]["keys"])

    def describe(self) -> str:
        """The model in words, for the verdict."""
        return (
            f"{self.name}: Redis, which keeps what it has answered; a key for {SLOW} or less runs out at any moment, a longer one only between "
            "attempts; a command is lost once before it is answered, or nobody answers any more until the attempt is over"
        )

    def outcomes(self, op: Op) -> tuple[Outcome, ...]:
        """Every way in which a command can end."""
        _, next_try, commands = op.params
        found = [ANSWERED]
        if not all(redis_commands.only_reads(command) for command in commands):
            found += [DOWN_DONE] if next_try == "last" else [LOST_DONE, DOWN_DONE]
        found += [LOST_NOT] if next_try == "none" else []  # else it is as if it had not been sent
        return (*found, DOWN_NOT)

    def perform(self, part: bytes, op: Op) -> tuple[bytes, Observation]:
        """The keys and the answer after one command, or after one transaction."""
        _, _, commands = op.params
        stored = _unpacked(part)
        replies = [redis_commands.perform(stored, command) for command in commands]
        seen: Reply = replies[0] if op.text != "MULTI" else ("*", tuple(replies))
        return _packed(stored), Observation(seen)

    def waits(self, part: bytes, op: Op) -> bool:
        """Whether the client asks until it gets what another holds now."""
        waiting, _, (command, *_) = op.params
        return bool(waiting) and command[1] in _unpacked(part)

    def released(self, part: bytes, op: Op) -> bytes:
        """The keys without the one that a client waits for."""
        _, _, (command, *_) = op.params
        stored = _unpacked(part)
        stored.pop(command[1], None)
        return _packed(stored)

    def lapsed(self, part: bytes) -> list[tuple[bytes, timedelta]]:
        """The keys after the next one has run out, each that can be it; and how long that one was to live."""
        stored = _unpacked(part)
        armed = [(key, item.ttl) for key, item in stored.items() if item.ttl is not None]
        found = []
        for number, (key, ttl) in enumerate(armed):
            if all(earlier > ttl for _, earlier in armed[:number]):
                rest = {name: item for name, item in stored.items() if name != key}
                found.append((_packed(rest), timedelta(milliseconds=ttl)))
        return found


def _packed(stored: Stored) -> bytes:
    """Keys that stay come by name; the others in the order in which they were given their time."""
    items = sorted((one for one in stored.items() if one[1].ttl is None), key=lambda one: one[0])
    items += [one for one in stored.items() if one[1].ttl is not None]
    return encode({
        "objects": {"keys": [
            {"key": key.decode(errors="backslashreplace"), "raw": key, "value": item.value, "ttl": item.ttl} for key, item in items
        ]}
    })  # fmt: skip


def _unpacked(part: bytes) -> Stored:
    return {one["raw"]: Item(one["value"], one["ttl"]) for one in decode(part)["objects"]["keys"]}


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    kind, content = value
    if kind == "hash":
        return {_shown(name): _shown(one) for name, one in content}
    return set(map(_shown, content)) if kind == "set" else list(map(_shown, content))
