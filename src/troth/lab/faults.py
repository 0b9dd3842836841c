"""The outcome algebra: {not done, done} × {told the answer, told an error, told nothing}, per kind of operation.

Pure tables. A process can also die before any operation; that is an action of the search, not an outcome, because a dead
process observes nothing. Dying after an effect is dying before the next operation.

| operation                  | outcomes besides the world's own answer                                            |
|----------------------------|------------------------------------------------------------------------------------|
| read from a provider       | timed out; answered 500                                                            |
| effect at a provider       | timed out and done; timed out and not done; 500 and done; 500 and not; unreachable; |
|                            | timed out and still under way                                                      |
| connect to a mail server   | refused                                                                            |
| mail; a message to a queue | connection lost and sent; connection lost and not sent                             |
| what comes from a queue    | another message than the oldest; one that somebody is at work on                   |
| acknowledgement            | lost on its way, and nobody is told                                                |
| SQL that takes a lock      | busy                                                                               |
| COMMIT of a write          | busy: not committed, the transaction stays open                                    |
| threads beside each other  | each order in which they can get through                                           |
| the answer to the caller   | lost on its way                                                                    |
| clock                      | a later tick; the same tick as the latest one that the world remembers             |
"""

from __future__ import annotations

import re
from itertools import permutations

from troth.lab.model import Observation, Op, Outcome

ANSWERED = Outcome("answered", happens=True, told="answer")
RECEIVED = Outcome("received", happens=True, told="answer")
LOST = Outcome("answer lost", happens=True, told="nothing", cost=1, word="lost response")
LATER = Outcome("later", happens=True, told="answer")
SAME_TICK = Outcome("same tick", happens=True, told="answer")

_TIMEOUT = Observation(("the read operation timed out",), "timeout")
_UNREACHABLE = Observation(("connection refused",), "unreachable")
_SERVER_ERROR = Observation(
    (500, (("content-type", "application/json"),), b'{"error": "internal server error"}')
)
_DISCONNECTED = Observation(("connection unexpectedly closed",), "disconnected")
_BUSY = Observation(("database is locked", 5, "SQLITE_BUSY"), "OperationalError")


def _fault(name: str, observation: Observation, word: str, *, happens: bool) -> Outcome:
    return Outcome(name, happens, "error", observation, cost=1, survived=True, word=word)


TIMEOUT_DONE = _fault("timed out after it was done", _TIMEOUT, "lost answer", happens=True)
TIMEOUT_NOT = _fault("timed out, not done", _TIMEOUT, "timeout", happens=False)
ERROR_DONE = _fault("answered 500 after it was done", _SERVER_ERROR, "lost answer", happens=True)
ERROR_NOT = _fault("answered 500, not done", _SERVER_ERROR, "error 500", happens=False)
UNREACHABLE = _fault("unreachable, not done", _UNREACHABLE, "refused connection", happens=False)
READ_TIMEOUT = _fault("timed out", _TIMEOUT, "timeout", happens=False)
READ_ERROR = _fault("answered 500", _SERVER_ERROR, "error 500", happens=False)
TIMEOUT_LATE = Outcome(
    "timed out, still under way",
    happens=False,
    told="error",
    observation=_TIMEOUT,
    cost=1,
    survived=True,
    word="late effect",
    late=True,
)
BLOCKED = Outcome(
    "blocked", happens=False, told="error", observation=_BUSY, survived=True, word="deadlock"
)
"""It waits for another attempt. The observation is what it gets if that one waits for it, too."""
MAIL_DONE = _fault("connection lost after it was sent", _DISCONNECTED, "lost answer", happens=True)
MAIL_NOT = _fault("connection lost, not sent", _DISCONNECTED, "lost connection", happens=False)
BUSY = _fault("busy, not done", _BUSY, "busy database", happens=False)

ACK_LOST = Outcome(
    "the acknowledgement is lost",
    happens=False,
    told="answer",
    observation=Observation(),
    cost=1,
    word="lost acknowledgement",
)

PROVIDER_EFFECT = (
    ANSWERED,
    TIMEOUT_DONE,
    TIMEOUT_NOT,
    ERROR_DONE,
    ERROR_NOT,
    UNREACHABLE,
    TIMEOUT_LATE,
)
PROVIDER_READ = (ANSWERED, READ_TIMEOUT, READ_ERROR)
MAIL = (ANSWERED, MAIL_DONE, MAIL_NOT)
ACK = (ANSWERED, ACK_LOST)
MAIL_SERVER = (ANSWERED, UNREACHABLE)
LOCKING = (ANSWERED, BUSY)
PLAIN = (ANSWERED,)
ANSWER = (RECEIVED, LOST)
CLOCK = (LATER, SAME_TICK)

_QUERY = re.compile(r"\s*(select|values|explain|pragma)\b", re.IGNORECASE)
_WITH = re.compile(r"\s*with\b(?!.*\b(insert|update|delete|replace)\b)", re.IGNORECASE | re.DOTALL)
_DEFERRED = re.compile(
    r"\s*(begin(\s+deferred)?(\s+transaction)?|savepoint\b.*|release\b.*|rollback\b.*)\s*;?\s*$",
    re.IGNORECASE,
)
_END = re.compile(r"\s*(commit|end)\b", re.IGNORECASE)
_SETTING = re.compile(
    r"\s*pragma\s+(foreign_keys|legacy_alter_table|busy_timeout|cache_size|temp_store|mmap_size)\s*=",
    re.IGNORECASE,
)
_PRAGMA = re.compile(r"\s*pragma\b", re.IGNORECASE)


def is_query(text: str) -> bool:
    """Whether the statement only reads."""
    return bool(_QUERY.match(text) or _WITH.match(text))


def is_pragma(text: str) -> bool:
    """Whether the statement sets or asks something about the connection."""
    return bool(_PRAGMA.match(text))


def is_setting(text: str) -> bool:
    """Whether the statement sets something about the connection that only the connection can notice."""
    return bool(_SETTING.match(text))


def is_deferred(text: str) -> bool:
    """Whether the statement begins or marks a transaction without taking a lock yet."""
    return bool(_DEFERRED.match(text))


def writes(op: Op) -> bool:
    """Whether a database operation can leave something to commit."""
    return (
        op.kind == "sql"
        and not is_query(op.text)
        and not _DEFERRED.match(op.text)
        and not _END.match(op.text)
    )


def takes_lock(op: Op, opened: tuple[Op, ...]) -> bool:
    """Whether SQLite must take a lock for this operation, which is where it can answer that the database is busy.

    `opened` are the operations of the attempt's open transactions. The first read of a transaction takes a shared lock,
    its first write the reserved one, and COMMIT of a write the exclusive one. Everything between has what it needs.
    """
    mine = [other for other in opened if other.handle == op.handle and other.kind == "sql"]
    wrote = any(writes(other) for other in mine)
    if op.kind == "commit" or (op.kind == "sql" and _END.match(op.text)):
        return wrote
    if op.kind != "sql" or _DEFERRED.match(op.text) or is_pragma(op.text):
        return False
    if is_query(op.text):
        return not any(
            not _DEFERRED.match(other.text) and not is_pragma(other.text) for other in mine
        )
    return not wrote


def orders(count: int, at_once: int) -> tuple[Outcome, ...]:
    """The orders in which so many threads can get through, if so many run at the same time. The first is the one in which they were started."""
    possible = [
        order
        for order in permutations(range(count))
        if all(
            one in sorted(set(range(count)) - set(order[:place]))[:at_once]
            for place, one in enumerate(order)
        )
    ]
    return tuple(
        Outcome(f"order {' '.join(str(one + 1) for one in order)}", False, "answer", Observation(order))
        for order in possible
    )  # fmt: skip


def outcomes(op: Op, *, reads_only: bool) -> tuple[Outcome, ...]:
    """Every way in which an operation outside databases can end. `reads_only` is what the provider declares of this call."""
    if op.kind == "http":
        return PROVIDER_READ if reads_only else PROVIDER_EFFECT
    return orders(*op.params) if op.kind == "order" else _OUTCOMES.get(op.kind, PLAIN)


_OUTCOMES = {
    "mail": MAIL,
    "publish": MAIL,
    "ack": ACK,
    "connect": MAIL_SERVER,
    "answer": ANSWER,
    "clock": CLOCK,
}
