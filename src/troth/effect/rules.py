"""What may be done about an effect. Pure: what is recorded and the time in, a decision out."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import Enum

from troth.effect.model import MARGIN_S, EffectRules, Outcome

# The request never left this machine, whatever the client library.
_NEVER_SENT: tuple[type[BaseException], ...] = (ConnectionRefusedError, socket.gaierror)
_KEY_MARGIN_S = 60.0


class Move(Enum):
    """What to do next about an effect that has no answer."""

    SEND = "send it, or send it again with the same key"
    WAIT = "wait until the next attempt is due"
    WAIT_OUT = "wait until nothing of a lost attempt can be in flight"
    DOUBT = "it may have happened and may not be repeated: ask a person"
    GIVE_UP = "it did not happen, and the attempts are used up: ask a person"


@dataclass(frozen=True, slots=True)
class History:
    """What is recorded of one effect. Times are in seconds by the database's clock."""

    attempts: int = 0  # intents so far
    first_sent_s: float | None = None  # the first intent
    last_outcome: Outcome | None = None  # of the last intent; None: nobody recorded one
    unknown: bool = False  # some attempt may have happened, and no person has decided since
    due_s: float | None = None  # when the next attempt is due
    exhausted: bool = False  # no attempts are left


def next_move(rules: EffectRules, history: History, now_s: float) -> Move:
    """Decide, in this order: is it lost, is it in doubt, are attempts left, is it time?"""
    if history.attempts == 0 or history.first_sent_s is None:
        return Move.SEND
    if history.last_outcome is None:
        return Move.WAIT_OUT
    if history.unknown and (
        history.exhausted or not may_repeat(rules, first_sent_s=history.first_sent_s, now_s=now_s)
    ):
        return Move.DOUBT
    if history.exhausted:
        return Move.GIVE_UP
    if history.due_s is not None and history.due_s > now_s:
        return Move.WAIT
    return Move.SEND


def may_repeat(rules: EffectRules, *, first_sent_s: float, now_s: float) -> bool:
    """The effect may have happened: may it be sent again?

    Yes, if the provider will recognise the key: its lifetime counts from the first time the key may
    have been seen, and a request may arrive a timeout and a margin after the decision. Or if the
    author said `at_least_once`.
    """
    lifetime_s = rules.key_lifetime_s
    if lifetime_s is None:
        return rules.delivery == "at_least_once"
    arrives_s = now_s + rules.timeout_s + MARGIN_S
    margin_s = min(_KEY_MARGIN_S, lifetime_s / 4)
    return arrives_s - first_sent_s < lifetime_s - margin_s


def outcome_of(error: BaseException) -> Outcome:
    """What an exception that came out of an effect's body says. Unknown, unless it is known to be harmless.

    Client libraries wrap the socket's error: as the cause (httpx, aiohttp, urllib3) or as the
    argument (requests) of theirs. An error that was being handled when this one was raised
    (`__context__`) says nothing: after a refused connection another one may have been tried.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, _NEVER_SENT):
            return Outcome.NOT_DONE
        seen.add(id(cause))
        wrapped = (arg for arg in cause.args if isinstance(arg, BaseException))
        cause = cause.__cause__ or next(wrapped, None)
    return Outcome.UNKNOWN
