"""Where the actors of a state stand: who may begin, and who has come to rest. Pure.

A *user* rests when it has a final answer. A *delivery* rests while nothing is waiting for it. A *round* (a worker that looks for work, a
timer) can begin at any time; it rests when it has looked, with nobody beside it and nothing failing, and has found nothing to do. When
the world changes, it has to look again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from troth.lab.model import ALONE, ASKING, DONE, GONE, State

Role = Literal["user", "delivery", "round"]

BESIDE: dict[Role, tuple[str, str]] = {
    "user": ("impatient caller", "second caller"),
    "delivery": ("second delivery", "delivery meanwhile"),
    "round": ("second worker", "worker meanwhile"),
}
"""What an attempt is counted as that begins beside another of the same actor, or of another one."""


class Cast(Protocol):
    """What is asked of a program about its actors."""

    def role(self, actor: int) -> Role:
        """Why it acts."""
        ...

    def has_message(self, actor: int, world: int) -> bool:
        """Whether something is there to be delivered to it."""
        ...


def may_begin(cast: Cast, state: State, actor: int) -> bool:
    """Whether an attempt of this actor may begin now."""
    if cast.role(actor) == "delivery":
        return cast.has_message(actor, state.world)
    return state.clients[actor] not in {DONE, GONE}


def begun(cast: Cast, state: State, actor: int) -> tuple[int, ...]:
    """The clients when an attempt of this actor has begun. Whoever was alone is not any more."""
    alone = cast.role(actor) == "round" and state.quiet
    clients = [ASKING if one == ALONE else one for one in state.clients]
    clients[actor] = ALONE if alone else ASKING
    return tuple(clients)


def disturbed(cast: Cast, clients: tuple[int, ...], actors: Iterable[int]) -> tuple[int, ...]:
    """The clients when a round of these actors does not count, or is needed again."""
    again = {actor for actor in actors if cast.role(actor) == "round"}
    return tuple(
        ASKING if actor in again and one in {DONE, ALONE} else one
        for actor, one in enumerate(clients)
    )


def ended(clients: tuple[int, ...], actor: int, *, final: bool, died: bool) -> tuple[int, ...]:
    """The clients when an attempt of this actor is over. `final`: its user has an answer after which it asks no more."""
    now = clients[actor]
    if now == ALONE:
        now = ASKING if died else DONE
    elif now == ASKING and final:
        now = DONE
    return (*clients[:actor], now, *clients[actor + 1 :])


def settled(cast: Cast, state: State) -> State:
    """The state, in which deliveries rest if nothing is waiting. While somebody is at work, nobody asks for that."""
    if not state.quiet:
        return state
    clients = tuple(_settled(cast, state))
    return state if clients == state.clients else state._replace(clients=clients)


def _settled(cast: Cast, state: State) -> Iterator[int]:
    for actor, now in enumerate(state.clients):
        if cast.role(actor) == "delivery":
            yield ASKING if cast.has_message(actor, state.world) else DONE
        else:
            yield now
