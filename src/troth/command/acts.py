"""The table of all that a person may do, who may, and what each act means for what troth promises. Pure.

An act is about one object (`about`, a text: the id of a run, the name of a schedule) and has details, whose names are
fixed here: so that the command line and the console say the same thing in the same words, and the second of two people
can be seen to have said what the first one did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final

from troth.base.errors import UsageError


class Role(IntEnum):
    """What somebody may: look, act on what the program does, or change who may do what. Each includes those before it."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As it is written in records and settings: `viewer`, `operator`, `admin`."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Role:
        """The role of a word. Raises `UsageError` for another one."""
        try:
            return cls[word.upper()]
        except KeyError:
            words = ", ".join(each.word for each in cls)
            raise UsageError(f"there is no role {word!r}; there are {words}") from None


@dataclass(frozen=True, slots=True)
class ActKind:
    """One kind of act.

    *name*: as in records, `run.cancel`. *least*: the role that it needs. *about*: what the text `about` is. *promise*:
    one sentence on what the act means, to be read before it is done. *details*: the names of its details, all of which
    are said each time. *hidden*: those that may be confidential; they count when two people are compared, and are not
    kept in the record. *own_eyes*: the act itself sees to it that two people agree, where that is asked for. *eyes*: at
    least so many people, whatever the rule.
    """

    name: str
    least: Role
    about: str
    promise: str
    details: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    own_eyes: bool = False
    eyes: int = 1


_KINDS: Final = (
    # Runs
    ActKind(
        "run.cancel", Role.OPERATOR, "run",
        "The run stops at its next step and undoes what it did, as far as its author has said how; a run that has ended "
        "stays as it is.",
    ),
    ActKind(
        "run.resume", Role.OPERATOR, "run",
        "What made the run stop is tried again, with all its retries; what is recorded as done is not done again.",
    ),
    ActKind(
        "run.send", Role.OPERATOR, "run",
        "The run is told this once, in the order in which messages came; it cannot be taken back.",
        details=("topic", "key", "value"), hidden=("value",),
    ),
    ActKind(
        "run.rewind", Role.OPERATOR, "run",
        "Answers from that step on do not count any more: steps and transactions run a second time, and of effects it is "
        "found out first whether they happened.",
        details=("from", "redo_transactions"),
    ),
    ActKind(
        "run.fork", Role.OPERATOR, "run",
        "A second run goes on from there: effects from that step on are sent again, under other keys, and the first run "
        "stays as it is.",
        details=("from",),
    ),
    # Effects
    ActKind(
        "effect.settle", Role.OPERATOR, "run",
        "troth believes you about what happened outside: if it happened and you say it did not, it happens twice; if it did "
        "not and you say it did, it never does.",
        details=("path", "done", "value"), hidden=("value",), own_eyes=True,
    ),
    ActKind(
        "effect.probe", Role.OPERATOR, "run",
        "A worker asks the other side once more; it sends nothing, and the run goes on only if the answer settles it.",
        details=("path", "anyway"),
    ),
    # Events in and out
    ActKind(
        "inbox.replay", Role.OPERATOR, "event",
        "The event is tried anew as if it had just come; one that was applied is never applied twice.",
        details=("source",),
    ),
    ActKind(
        "inbox.replay_all", Role.OPERATOR, "state",
        "All these events are tried anew as if they had just come; none that was applied is applied twice.",
        details=("source", "type", "object", "limit"),
    ),
    ActKind(
        "outbox.resend", Role.OPERATOR, "message",
        "The message is sent again under its id, also where it may have arrived: who does not look at ids gets it twice.",
    ),
    ActKind(
        "outbox.resend_all", Role.OPERATOR, "dead letters",
        "Dead letters are sent again, each under its id; what may have arrived is left alone.",
        details=("endpoint", "since"),
    ),
    ActKind(
        "outbox.endpoint.enable", Role.OPERATOR, "endpoint",
        "What has waited for the endpoint goes out, in order, each message with all its tries.",
    ),
    ActKind(
        "outbox.endpoint.disable", Role.OPERATOR, "endpoint",
        "The endpoint is not called any more; what is published for it waits and is not lost.",
    ),
    # Schedules
    ActKind(
        "schedule.pause", Role.OPERATOR, "schedule",
        "It does not fire until somebody resumes it, also over deployments; what comes meanwhile is left out and recorded.",
    ),
    ActKind(
        "schedule.resume", Role.OPERATOR, "schedule",
        "It fires again from now on; what it has slept through is not made up for.",
    ),
    ActKind(
        "schedule.run", Role.OPERATOR, "schedule",
        "It fires once now, whatever its times and its overlap say: that firing may run beside another one.",
    ),
    ActKind(
        "schedule.backfill", Role.OPERATOR, "schedule",
        "It fires for every time of the range that it has not fired for, all at once; no time is fired twice.",
        details=("since", "until"),
    ),
    # Reconciliation
    ActKind(
        "reconcile.run", Role.OPERATOR, "reconciliation",
        "Both sides are read and compared; effects in doubt that their side shows are settled by that, and nothing else is done.",
        details=("since", "until"),
    ),
    ActKind(
        "reconcile.accept", Role.OPERATOR, "break",
        "The difference counts as explained until that day, or until it becomes another one; the money stays where it is.",
        details=("until",),
    ),
    ActKind(
        "reconcile.reopen", Role.OPERATOR, "break",
        "The difference counts as unexplained again, and no period with it can be closed.",
    ),
    ActKind(
        "reconcile.own", Role.OPERATOR, "break",
        "Others see who looks after it; nothing about the difference changes.",
        details=("owner",),
    ),
    ActKind(
        "reconcile.settle", Role.OPERATOR, "break",
        "What is proposed is done: the program books the difference, or an effect that they do not have is taken not to have "
        "happened, and may be sent again.",
    ),
    ActKind(
        "reconcile.close", Role.OPERATOR, "reconciliation",
        "Nothing until then is looked at again: two people say that every difference in it is explained.",
        details=("until", "run", "result", "explained"), eyes=2,
    ),
    # People and keys
    ActKind(
        "access.person.add", Role.ADMIN, "address",
        "The person can log in with the password, and may what the policies allow.",
        details=("tenant", "groups"),
    ),
    ActKind(
        "access.person.disable", Role.ADMIN, "address",
        "The person's sessions end, they cannot log in, and keys that they own are not valid, from the commit on.",
    ),
    ActKind(
        "access.key.create", Role.ADMIN, "name of the machine",
        "Whoever has the key may what its scopes and the policies allow; it is shown once.",
        details=("scopes", "owner", "tenant", "lifetime_s"),
    ),
    ActKind(
        "access.key.rotate", Role.ADMIN, "prefix of the key",
        "The machine has two keys until the old one ends; the new one is shown once.",
        details=("overlap_s", "lifetime_s"),
    ),
    ActKind(
        "access.key.revoke", Role.ADMIN, "prefix of the key",
        "The key is not valid from the commit on, and cannot be made valid again.",
    ),
    ActKind(
        "access.session.end", Role.ADMIN, "session",
        "Whoever has this session must log in again.",
    ),
    ActKind(
        "access.session.end_all", Role.ADMIN, "address",
        "The person must log in again everywhere.",
    ),
    # The ledger
    ActKind(
        "ledger.post", Role.ADMIN, "transfer",
        "The money is where you say from the commit on; a transfer cannot be changed, only taken back by another one.",
        details=("debit", "credit", "amount", "currency", "code"),
    ),
    ActKind(
        "ledger.close", Role.ADMIN, "end of the period",
        "Nothing can be posted any more that counts before that time; a closed period cannot be opened again.",
    ),
    ActKind(
        "ledger.seal", Role.OPERATOR, "schema",
        "What has committed goes into the next block now, as workers would put it there; nothing about it changes.",
    ),
    # Attention
    ActKind(
        "attention.claim", Role.OPERATOR, "run",
        "Others see who looks after the run; nothing is locked, and nothing about the run changes.",
        details=("owner", "take_over"),
    ),
    ActKind(
        "attention.note", Role.OPERATOR, "run",
        "Others read it beside the run, until the run leaves attention.",
        details=("text",),
    ),
    # The desk itself
    ActKind(
        "payload.show", Role.OPERATOR, "object",
        "You see values that may be confidential, and that you did is recorded.",
        details=("of", "path"),
    ),
    ActKind(
        "act.rule", Role.ADMIN, "act",
        "From now on so many people must do this act before it happens; lowering that needs as many as it asks for now.",
        details=("eyes",),
    ),
    ActKind(
        "act.withdraw", Role.OPERATOR, "proposal",
        "What was proposed does not happen when a second person does it: that is the first one then.",
    ),
    ActKind(
        "db.retain", Role.ADMIN, "schema",
        "Runs, journals and start keys of whole weeks are gone for good: a key that is forgotten starts a new run when it "
        "is used again.",
        details=("keep_s",),
    ),
)  # fmt: skip

ACTS: Final[Mapping[str, ActKind]] = MappingProxyType({kind.name: kind for kind in _KINDS})


def kind_of(act: str) -> ActKind:
    """What is known of an act by its name. Raises `UsageError` for a name that is none."""
    try:
        return ACTS[act]
    except KeyError:
        raise UsageError(f"there is no act {act!r}: troth access acts lists them") from None


def require_details(kind: ActKind, details: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless exactly the details of this kind are said."""
    if set(details) != set(kind.details):
        names = ", ".join(kind.details) or "none"
        msg = f"the details of {kind.name} are {names}, not {', '.join(sorted(details)) or 'none'}"
        raise UsageError(msg)


def visible(kind: ActKind, details: Mapping[str, Any]) -> dict[str, Any]:
    """The details without those that may be confidential, as they are kept."""
    return {name: value for name, value in details.items() if name not in kind.hidden}
