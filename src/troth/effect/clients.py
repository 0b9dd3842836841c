"""What an exception out of an effect's body means: it happened not, it was refused, or nobody knows.

`judge` looks it up in tables: of classes (`client_tables`), of codes (`client_codes`), with what the traceback proves
(`client_evidence`). The default is *unknown*. All of it supposes that an effect's body makes one request; of two, the
exception of the second says nothing of the first.
"""

from __future__ import annotations

import dataclasses
import logging

from troth.effect.client_answers import answer_of, reply_of, retry_after_s, sqlstate_of, words_of
from troth.effect.client_codes import (
    AFTER_MESSAGE,
    AWS_CODES,
    BEFORE_MESSAGE,
    Code,
    of_reply,
    of_sqlstate,
    of_status,
)
from troth.effect.client_evidence import Sent, kin, message_was_sent, places, sent, unwrapped
from troth.effect.client_tables import PLACES, ROWS, Reading, Row
from troth.effect.model import Judge, Judgement, Outcome

log = logging.getLogger("troth.effect")

_NOTHING_KNOWN = Code(Outcome.UNKNOWN, "nothing is known of this exception")
_SAID_OF_THE_LAST = Code(Outcome.UNKNOWN, "an earlier request of the library may have been done")


@dataclasses.dataclass(frozen=True, slots=True)
class Ruling:
    """What the tables say of an exception, by which *row*, and of which *error* of those that were wrapped."""

    outcome: Outcome
    because: str
    row: str | None
    error: BaseException


def judge(error: BaseException, ask: Judge | None = None) -> Judgement:
    """What *error* says of the effect whose body raised it: by *ask*, or else by the tables.

    An *ask* that raises is logged and not heard.
    """
    ruling = explain(error)
    told = Judgement(ruling.outcome, _message(ruling, error), _wish(ruling.error))
    try:
        asked = ask(error) if ask else None
    except Exception:
        log.exception("Provider.judge failed on %r; the tables of outcomes decide", error)
        return told
    if isinstance(asked, Outcome):
        ruling = dataclasses.replace(ruling, outcome=asked, because="so says Provider.judge")
        return Judgement(asked, _message(ruling, error), told.retry_after_s)
    return asked or told


def has_answered(error: BaseException) -> bool:
    """Did the other side say something that it says while it works? A server error is none, for a breaker."""
    answers = (answer_of(one) for one in unwrapped(error))
    status = next((a.status for a in answers if a and a.status is not None), None)
    return status is not None and status < 500


def explain(error: BaseException) -> Ruling:
    """What the tables say of an exception: the first one, from the outside in, of which they say something."""
    repeated, proved = False, True
    for one in unwrapped(error):
        row = _row(one)
        times = sent(one) or _sent_by_answer(one)
        repeated |= times is Sent.REPEATED
        if row and row.repeats:
            proved &= times is Sent.ONCE
        code, name = _read(one, row)
        if code is None:
            continue
        doubted = (code.says is Outcome.NOT_DONE and (repeated or not proved)) or (
            code.says is Outcome.REFUSED and repeated
        )
        said = _SAID_OF_THE_LAST if doubted else code
        return Ruling(said.says, said.because, name, one)
    return Ruling(_NOTHING_KNOWN.says, _NOTHING_KNOWN.because, None, error)


def _row(error: BaseException) -> Row | None:
    """The row of the exception's class, or of the nearest class that it inherits from."""
    return next((ROWS[name] for name in kin(error) if name in ROWS), None)


def _read(error: BaseException, row: Row | None) -> tuple[Code | None, str | None]:
    """What one exception says, and by which row; None: look at what it wraps."""
    code = _by_class(error, row) if row else None
    if code is None or code.says is Outcome.UNKNOWN:
        # The class does not know when it happened; the function that was left may.
        place = next((PLACES[name] for name in places(error) if name in PLACES), None)
        if place and isinstance(place.says, Outcome):
            return Code(place.says, place.because), place.name
    return code, row.name if row else None


def _by_class(error: BaseException, row: Row) -> Code | None:
    match row.says:
        case Reading.INSIDE:
            return None
        case Reading.STATUS:
            return _by_status(error)
        case Reading.REPLY:
            at_message = row.name.endswith(".SMTPDataError") and message_was_sent(error)
            to = AFTER_MESSAGE if at_message else BEFORE_MESSAGE
            return of_reply(to, [code for code, _ in reply_of(error)])
        case Reading.SQLSTATE:
            sqlstate = sqlstate_of(error)
            return of_sqlstate(sqlstate) if sqlstate else None
        case Outcome():
            return Code(row.says, row.because)


def _by_status(error: BaseException) -> Code | None:
    """By the status, unless the library made it up: then the cause is what it could not read."""
    answer = answer_of(error)
    if answer is None or answer.status is None or (error.__cause__ and _row(error.__cause__)):
        return None
    return AWS_CODES.get(answer.code) or of_status(answer.status)


def _sent_by_answer(error: BaseException) -> Sent | None:
    answer = answer_of(error)
    return answer.sent if answer else None


def _message(ruling: Ruling, error: BaseException) -> str:
    """For people: the other side's words, or else the exception."""
    if words := words_of(ruling.error):
        return _storable(words)
    try:
        said = " ".join(str(error).split())
    except Exception as broken:  # noqa: BLE001  (a `__str__` that raises)
        said = f"(its message cannot be read: {kin(broken)[0]})"
    return _storable(f"{kin(error)[0]}: {said or ruling.because}")


def _storable(text: str) -> str:
    """*text* without lone surrogates, which cannot be stored."""
    return text.encode("utf-8", "backslashreplace").decode()


def _wish(error: BaseException) -> float | None:
    answer = answer_of(error)
    return retry_after_s(answer.headers) if answer else None
