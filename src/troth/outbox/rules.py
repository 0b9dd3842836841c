"""What may be published, and what follows an attempt. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import assert_never

from troth.base.errors import UsageError
from troth.outbox.model import (
    LONGEST_RETRY_AFTER_S,
    Delivered,
    Next,
    Outcome,
    Refused,
    State,
    Terms,
    Unsettled,
)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_PATTERN = re.compile(r"\*|[A-Za-z0-9_.:-]{1,200}\*?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # a token of RFC 9110, section 5.6.2
_TEXT = re.compile(r"[\x20-\x7e]{0,2000}")
_JITTER = 0.1


def require_name(name: str) -> str:
    """Raise `UsageError` for what cannot be the name of an outbox or of a destination."""
    if not _NAME.fullmatch(name):
        msg = f"a name has 1 to 60 letters, digits, _ and -, not {name!r}"
        raise UsageError(msg)
    return name


def require_types(types: Sequence[str]) -> None:
    """Raise `UsageError` for what no type can match."""
    wrong = [each for each in types if not _PATTERN.fullmatch(each)]
    if isinstance(types, str) or not types or wrong:
        msg = f"types is a list like ['invoice.*', 'customer.created'] or ['*'], not {types!r}"
        raise UsageError(msg)


def require_publishable(
    kind: str, key: str | None, payload: bytes, headers: Mapping[str, str], limit: int
) -> None:
    """Raise `UsageError` for a message that no destination can carry. *limit*: bytes of the payload."""
    if not _TYPE.fullmatch(kind):
        msg = f"a type has 1 to 200 letters, digits and . _ : -, like invoice.paid, not {kind!r}"
        raise UsageError(msg)
    if key is not None and not (key and len(key) <= 500 and key.isprintable()):
        msg = f"a key has 1 to 500 printable characters, not {key!r}"
        raise UsageError(msg)
    if len(payload) > limit:
        msg = f"the payload of {kind} has {len(payload)} bytes; {limit} are allowed. Publish an id, and let them fetch it"
        raise UsageError(msg)
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not _TEXT.fullmatch(value):
            msg = f"header {name!r} is not a name with a value of one line of ASCII"
            raise UsageError(msg)


def after(
    terms: Terms, tries: int, outcome: Outcome, draw: float, *, to_endpoint: bool = False
) -> Next:
    """What becomes of a delivery after its try number *tries*. *draw*: a random number from 0 to 1."""
    match outcome:
        case Delivered():
            return Next(State.DELIVERED, 0.0, works=True)
        case Refused():
            return Next(State.DEAD, 0.0, works=False)
        case Unsettled(sent=True) if terms.delivery == "at_most_once":
            return Next(State.IN_DOUBT, 0.0, works=False)
        case Unsettled(disable=str(why)) if to_endpoint:
            # It waits for a person, who gives it all its tries again.
            return Next(State.PENDING, terms.schedule[0], works=False, disable=why)
        case Unsettled():
            wait_s = wait_before(terms, tries + 1, draw)
            if wait_s is None:
                return Next(State.DEAD, 0.0, works=False)
            asked_s = min(outcome.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
            return Next(State.PENDING, max(wait_s, asked_s), works=False)
        case _:
            assert_never(outcome)


def wait_before(terms: Terms, number: int, draw: float) -> float | None:
    """Seconds to wait before try *number* (from 1), up to a tenth more or less; None if there is none."""
    if number > len(terms.schedule) and not terms.forever:
        return None
    wait_s = terms.schedule[min(number, len(terms.schedule)) - 1]
    return wait_s * (1 - _JITTER + 2 * _JITTER * draw)
