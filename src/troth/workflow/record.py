"""What the journal says of one effect: as the rules want it, and as a person does. Pure functions over entries."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.effect.model import Found, Missing, Outcome
from troth.effect.rules import History, settles_at
from troth.journal.model import RESUME_PATH, Entry, Kind
from troth.journal.reading import said_by
from troth.workflow.calls import PendingCall
from troth.workflow.consequences import EffectDefinition
from troth.workflow.failures import describe_briefly
from troth.workflow.run import ActiveRun

_Effect = EffectDefinition[Any, Any]

_LONGEST_KEY = 200  # characters; Stripe takes 255


def history_of(run: ActiveRun, call: PendingCall) -> History:
    """The record of an effect, for the rules."""
    intents = run.past.entries(call.path, Kind.INTENT)
    if not intents:
        return History()
    ended = {e.attempt: said_by(e) for e in run.past.entries(call.path, Kind.ATTEMPT)}
    evidence = [(e, said_by(e)) for e in run.past.entries(call.path, Kind.EVIDENCE)]
    decisions = [(e, said_by(e)) for e in run.past.entries(call.path, Kind.DECISION)]
    settled = _settled(run, call, decisions, evidence)
    last = max(intents, key=_attempt)
    said = ended.get(last.attempt)
    probes = [(e, said) for e, said in evidence if e.attempt > 0]
    asked_at = max([e.at for e, said in decisions if said.get("probe")], default=0.0)
    # Answers that were given before a later attempt was sent say nothing of that one.
    latest = [(e, said) for e, said in probes if said.get("attempts", 0) >= last.attempt]
    return History(
        attempts=last.attempt,
        first_sent_s=min(entry.at for entry in intents),
        last_outcome=Outcome(said["outcome"]) if said else None,
        unknown=any(
            said["outcome"] == Outcome.UNKNOWN.value
            for attempt, said in ended.items()
            if attempt > settled
        ),
        due_s=said.get("due") if said else None,
        exhausted=said is not None and "due" not in said and not _forgiven(run, call, last),
        refused=said is not None and "refusal" in said,
        found=_found(evidence) is not None,
        asked=asked_at > max((e.at for e, _ in probes), default=0.0),
        probe_due_s=latest[-1][1].get("due") if latest else None,
        probes_exhausted=bool(latest) and "due" not in latest[-1][1],
    )


def _settled(
    run: ActiveRun,
    call: PendingCall,
    decisions: list[tuple[Entry, dict[str, Any]]],
    evidence: list[tuple[Entry, dict[str, Any]]],
) -> int:
    """The last attempt of which a person, or a probe that could not be wrong, has said that it did not happen.

    By number, not by time: what a worker and the database record at the same time have times of different clocks.
    """
    said_so: list[int] = [said["attempts"] for _, said in decisions if said.get("done") is False]
    found_out: list[int] = [said["attempts"] for _, said in evidence if said.get("settles")]
    return max([*said_so, *found_out, run.past.left_out(call.path)])


def _forgiven(run: ActiveRun, call: PendingCall, last: Entry) -> bool:
    """Has a person let the effect be tried again since its last attempt?"""
    resumed = max([e.at for e in run.past.entries(RESUME_PATH, Kind.DECISION)], default=0.0)
    decided = [said_by(e) for e in run.past.entries(call.path, Kind.DECISION)]
    return resumed > last.at or any(
        said.get("done") is False and said["attempts"] >= last.attempt for said in decided
    )


def _found(evidence: list[tuple[Entry, dict[str, Any]]]) -> dict[str, Any] | None:
    for _, said in evidence:
        if said["answer"] == "found" or said.get("outcome") == Outcome.DONE.value:
            return said
    return None


def evidence_found(run: ActiveRun, call: PendingCall) -> Any:
    """The result that a probe found, or that came late; only if there is one."""
    found = _found([(e, said_by(e)) for e in run.past.entries(call.path, Kind.EVIDENCE)])
    assert found is not None
    return found["value"]


def first_sent(run: ActiveRun, call: PendingCall) -> float:
    """When the effect may have been sent for the first time."""
    return min(entry.at for entry in run.past.entries(call.path, Kind.INTENT))


def key_of(run: ActiveRun, call: PendingCall) -> str:
    """The idempotency key of an effect: of its run and path, so the same for every attempt and worker.

    What was refused, and is tried again since a person has sent the run back, is another request: it has another key.
    """
    return key_text(run.id, call.path, run.past.refused_before(call.path))


def key_text(run_id: UUID, path: str, refusals: int) -> str:
    """The key of the request at *path* that comes after so many that were refused."""
    key = f"{run_id}/{path}" + (f"~{refusals}" if refusals else "")
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{run_id}/{hashlib.blake2b(key.encode(), digest_size=20).hexdigest()}"


def key_until_s(run: ActiveRun, call: PendingCall, definition: _Effect) -> float | None:
    """Until when the provider recognises the key; None if it does not."""
    lifetime_s = definition.effect.key_lifetime_s
    return None if lifetime_s is None else first_sent(run, call) + lifetime_s


def refusal_of(run: ActiveRun, call: PendingCall) -> bytes:
    """The refusal of the last attempt, as it is told to the workflow; only if there is one."""
    last = max(run.past.entries(call.path, Kind.ATTEMPT), key=_attempt)
    return codec.encode(said_by(last)["refusal"])


def reserved_slot(run: ActiveRun, call: PendingCall) -> float | None:
    """The time at which it may be sent, if it waits for one: a slot is good for one attempt."""
    waits = run.past.entries(call.path, Kind.WAIT)
    sent_at = max((entry.at for entry in run.past.entries(call.path, Kind.INTENT)), default=0.0)
    if not waits or waits[-1].at <= sent_at:
        return None
    slot: float | None = said_by(waits[-1]).get("slot")
    return slot


def settles_s_of(run: ActiveRun, call: PendingCall, definition: _Effect) -> float:
    """From when on who looks and finds nothing knows that nothing happened, in database time."""
    return settles_at(
        definition.effect,
        last_sent_s=max(e.at for e in run.past.entries(call.path, Kind.INTENT)),
        gave_up_s=max((e.at for e in run.past.entries(call.path, Kind.ATTEMPT)), default=0.0),
    )


def probe_record(
    run: ActiveRun,
    call: PendingCall,
    definition: _Effect,
    answer: object,
    found: Any,
    begun_s: float,
    now_s: float,
    *,
    at_work: bool,
) -> dict[str, Any]:
    """What to record of a probe's answer. *at_work*: a thread of an earlier attempt may still send."""
    assert definition.asks is not None
    if isinstance(answer, Found):
        return {"answer": "found", "begun": begun_s, "value": found}
    settles_s = settles_s_of(run, call, definition)
    attempts = max(e.attempt for e in run.past.entries(call.path, Kind.INTENT))
    record: dict[str, Any] = {"answer": "missing", "begun": begun_s, "attempts": attempts}
    if not isinstance(answer, Missing):
        message = (
            describe_briefly(answer)
            if isinstance(answer, BaseException)
            else f"the probe returned {answer!r}, which is neither Found(…) nor Missing()"
        )
        record |= {"answer": "error", "message": message}
    elif begun_s > settles_s and not at_work:
        return record | {"settles": True}
    earlier = [said_by(e) for e in run.past.entries(call.path, Kind.EVIDENCE) if e.attempt > 0]
    retry = definition.asks.retry
    if begun_s <= settles_s:
        # The answer cannot settle it yet: ask again, since `Found` counts, and surely when it can.
        due_s = min(now_s + retry.pause_s(len(earlier) + 1), settles_s)
        return record | {"due": max(due_s, now_s) + 0.001}
    counted = sum(1 for said in earlier if said["begun"] > settles_s)
    wait_s = retry.wait_s(counted + 1, elapsed_s=now_s - settles_s)
    return record if wait_s is None else record | {"due": now_s + wait_s}


def story(run: ActiveRun, call: PendingCall, definition: Any) -> dict[str, Any]:
    """All that a person needs who has to find out what became of an effect."""
    rules = definition.effect
    intents = run.past.entries(call.path, Kind.INTENT)
    answers = [said_by(e).get("message") for e in run.past.entries(call.path, Kind.ATTEMPT)]
    history = history_of(run, call)
    verdict = "may or may not have happened" if history.unknown else "did not happen"
    return {
        "at": call.path,
        "message": f"{call.path} {verdict}: {answers[-1] if answers else 'no answer'}",
        "provider": rules.provider.name if rules.provider else None,
        "key": key_of(run, call),
        "key_until": key_until_s(run, call, definition) if intents else None,
        "sent": codec.decode(call.encoded),
        "sent_at": [entry.at for entry in intents],
        "answers": answers,
        "stake": _stake(call, definition),
        "probed": rules.probed,
        "attempts": max((entry.attempt for entry in intents), default=0),
        "lands_until": settles_s_of(run, call, definition) if intents else None,
        "probes": [
            {"at": e.at, "answer": said["answer"], "message": said.get("message")}
            for e in run.past.entries(call.path, Kind.EVIDENCE)
            for said in [said_by(e)]
        ],
        "settled_by": rules.settled_by,
    }


def _stake(call: PendingCall, definition: _Effect) -> str | None:
    """What is at stake, as its author words it. That must not keep the run from being parked."""
    if definition.effect.stake is None:
        return None
    try:
        args, kwargs = definition.arguments.by_position(call.encoded)
        return str(definition.effect.stake(*args, **kwargs))
    except Exception as error:  # noqa: BLE001  (the author's function)
        return f"(stake= raised {describe_briefly(error)})"


def _attempt(entry: Entry) -> int:
    return entry.attempt
