"""What may be done about an effect. Pure: what is recorded and the time in, a decision out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from troth.effect.model import MARGIN_S, EffectRules, Outcome

_KEY_MARGIN_S = 60.0


class Move(Enum):
    """What to do next about an effect that has no answer."""

    SEND = "send it, or send it again with the same key"
    WAIT = "wait until the next attempt is due"
    WAIT_OUT = "wait until nothing of a lost attempt can be in flight"
    PROBE = "ask the other side what happened"
    WAIT_TO_PROBE = "wait until it is time to ask"
    ACCEPT = "it was found to have happened: that is the answer"
    REFUSE = (
        "it was refused, and nothing of an earlier attempt can have happened: that is the answer"
    )
    DROP = "nobody wants it any more: it did not happen, or it may stand"
    DOUBT = "it may have happened and may not be repeated: ask a person"
    GIVE_UP = "it did not happen, and the attempts are used up: ask a person"


@dataclass(frozen=True, slots=True)
class History:
    """What is recorded of one effect. Times are in seconds by the database's clock."""

    attempts: int = 0  # intents so far
    first_sent_s: float | None = None  # the first intent
    last_outcome: Outcome | None = None  # of the last intent; None: nobody recorded one
    unknown: bool = False  # some attempt may have happened, and nothing has settled that since
    due_s: float | None = None  # when the next attempt is due
    exhausted: bool = False  # no attempts are left
    refused: bool = False  # the last attempt was refused, but an earlier one may have happened
    found: bool = False  # a probe, or an answer that came late, says that it happened
    asked: bool = False  # a person wants it probed, whatever was tried
    probe_due_s: float | None = None  # when the next probe is due; None: at once
    probes_exhausted: bool = False  # no probes are left


def next_move(rules: EffectRules, history: History, now_s: float, *, wanted: bool = True) -> Move:
    """Decide, in this order: is it found, is it lost, what if it may have happened, are attempts left, is it time?

    *wanted*: is there still a run that would go on with its result? If not, the outcome matters only for undoing it.
    """
    if history.found:
        return Move.ACCEPT
    if history.first_sent_s is None:
        return Move.SEND if wanted else Move.DROP
    if not wanted and rules.stands:
        return Move.DROP
    if history.last_outcome is None:
        return Move.WAIT_OUT
    if history.unknown:
        return _when_unknown(rules, history, history.first_sent_s, now_s, wanted=wanted)
    return _when_not_done(history, now_s, wanted=wanted)


def _when_not_done(history: History, now_s: float, *, wanted: bool) -> Move:
    if history.refused:
        return Move.REFUSE
    if not wanted:
        return Move.DROP
    return Move.GIVE_UP if history.exhausted else _when_due(history, now_s)


def _when_unknown(
    rules: EffectRules, history: History, first_sent_s: float, now_s: float, *, wanted: bool
) -> Move:
    """It may have happened. The provider's own memory of our key is the best answer, its records are the next."""
    probe = None
    if rules.probed and (history.asked or not history.probes_exhausted):
        in_time = history.asked or history.probe_due_s is None or history.probe_due_s <= now_s
        probe = Move.PROBE if in_time else Move.WAIT_TO_PROBE
    may_send = not history.exhausted and not history.refused
    by_key = may_send and key_is_known(rules, first_sent_s=first_sent_s, now_s=now_s)
    # What nobody wants is better asked for than sent again; and if a person wants it asked, it is.
    if probe is not None and (history.asked or not wanted or not by_key):
        return probe
    if by_key or (rules.delivery == "at_least_once" and wanted and may_send):
        return _when_due(history, now_s)
    return Move.DOUBT


def _when_due(history: History, now_s: float) -> Move:
    return Move.WAIT if history.due_s is not None and history.due_s > now_s else Move.SEND


def settles_at(rules: EffectRules, *, last_sent_s: float, gave_up_s: float) -> float:
    """From when on a probe that finds nothing proves that nothing happened: nothing can land any more.

    *last_sent_s*: the last intent. *gave_up_s*: when its attempt was recorded as ended. A probe counts if it begins later.
    """
    # The two times were read off different clocks, perhaps: the margin is for the difference.
    return max(last_sent_s + rules.in_flight_s, gave_up_s + MARGIN_S) + rules.lands_within_s


def key_is_known(rules: EffectRules, *, first_sent_s: float, now_s: float) -> bool:
    """Will the provider recognise the key if the effect is sent again now?

    The key's lifetime counts from the first time it may have been seen, and a request may land as late after the decision
    as one can at all.
    """
    lifetime_s = rules.key_lifetime_s
    if lifetime_s is None:
        return False
    arrives_s = now_s + rules.in_flight_s + rules.lands_within_s
    margin_s = min(_KEY_MARGIN_S, lifetime_s / 4)
    return arrives_s - first_sent_s < lifetime_s - margin_s
