"""What is given to a decorator or to a call and cannot be: said by name and at once, to programs that no type checker reads.

Pure. What a type checker would have found is found here too, before it becomes an error of the database's or a retry.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID

from troth.base.backoff import Retry
from troth.base.errors import UsageError
from troth.effect.model import Delivery, Provider
from troth.workflow.queue import Queue


def check_key(key: object) -> None:
    """Raise `UsageError` for a start key that cannot be stored."""
    if key is None:
        return
    if not isinstance(key, str):
        msg = f"a key is a text, not {_said(key)}"
        raise UsageError(msg)
    surrogates = any("\ud800" <= character <= "\udfff" for character in key)
    if not key or len(key) > 500 or "\0" in key or surrogates:
        msg = f"a key has 1 to 500 characters, no NUL and no lone surrogate, not {key!r}"
        raise UsageError(msg)


def check_message_key(key: object) -> None:
    """Raise `UsageError` for the key of a message that cannot be stored."""
    if key is None:
        return
    if not isinstance(key, str) or not (0 < len(key) <= 500 and key.isprintable()):
        msg = f"the key of a message has 1 to 500 printable characters, not {key!r}"
        raise UsageError(msg)


def run_id_of(run: object) -> UUID:
    """The id of a run, as itself or as text. Raises `UsageError`."""
    if isinstance(run, UUID):
        return run
    try:
        return UUID(run)  # type: ignore[arg-type]  # what is no text is told below
    except (ValueError, TypeError, AttributeError):
        msg = f"the id of a run is a UUID, not {_said(run)}; a run of a known key is found with `troth run list --key`"
        raise UsageError(msg) from None


def addressee(run: object) -> tuple[UUID | None, str | None]:
    """Whom a message is for, by id or by start key. Raises `UsageError`."""
    found = getattr(run, "id", run)  # of a handle
    if isinstance(found, UUID):
        return found, None
    if isinstance(found, str):
        check_key(found)
        return None, found
    msg = f"a message is for a run, given by handle, id or start key, not for {_said(run)}"
    raise UsageError(msg)


def time_s(name: str, at: object) -> float | None:
    """A time in seconds since 1970. Raises `UsageError` for one without a zone, and for what is none."""
    if at is None:
        return None
    if not isinstance(at, datetime):
        msg = f"{name}= is a datetime with its time zone, not {_said(at)}"
        raise UsageError(msg)
    if at.tzinfo is None:
        msg = f"{name}={at} has no time zone"
        raise UsageError(msg)
    return at.astimezone(UTC).timestamp()


def deadline_s(deadline: object) -> tuple[float | None, float | None]:
    """A deadline: a time, or seconds after the start. Raises `UsageError`."""
    if isinstance(deadline, timedelta):
        return None, deadline.total_seconds()
    return time_s("deadline", deadline), None


def timeout_s(name: str, timeout: object, what: str = "effect") -> float:
    """A timeout in seconds. Raises `UsageError` if it leaves no time, or is none."""
    if isinstance(timeout, timedelta):
        seconds = timeout.total_seconds()
    elif isinstance(timeout, int | float) and not isinstance(timeout, bool):
        seconds = float(timeout)
    else:
        msg = f"{what} {name}: the timeout is a number of seconds or a timedelta, not {_said(timeout)}"
        raise UsageError(msg)
    if not 0 < seconds < math.inf:
        msg = f"{what} {name}: the timeout must be greater than 0, not {seconds}"
        raise UsageError(msg)
    return seconds


def errors(name: str, fails_on: object) -> tuple[type[Exception], ...]:
    """The exceptions that are business answers. Raises `UsageError` for what is no exception's type."""
    declared = fails_on if isinstance(fails_on, tuple) else (fails_on,)
    for kind in declared:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            msg = f"{name}: fails_on= takes the types of exceptions, not {_said(kind)}"
            raise UsageError(msg)
    return declared


def check_retry(name: str, retry: object) -> None:
    """Raise `UsageError` unless it is a `Retry`."""
    if not isinstance(retry, Retry):
        msg = f"{name}: retry= is a Retry, like Retry(attempts=3), not {_said(retry)}"
        raise UsageError(msg)


def check_delivery(name: str, delivery: object) -> None:
    """Raise `UsageError` for a word that says nothing."""
    known = get_args(Delivery)
    if delivery is not None and delivery not in known:
        msg = f"effect {name}: delivery= is {' or '.join(map(repr, known))}, not {_said(delivery)}"
        raise UsageError(msg)


def check_provider(name: str, provider: object) -> None:
    """Raise `UsageError` unless it is a `Provider`."""
    if provider is not None and not isinstance(provider, Provider):
        msg = f"effect {name}: provider= is a Provider, like Provider({str(provider)!r}), not {_said(provider)}"
        raise UsageError(msg)


def check_queue(name: str, queue: object) -> None:
    """Raise `UsageError` unless it is a `Queue`."""
    if queue is not None and not isinstance(queue, Queue):
        msg = f"workflow {name}: queue= is a Queue, like Queue({str(queue)!r}, concurrency=50), not {_said(queue)}"
        raise UsageError(msg)


def check_tx(tx: object) -> None:
    """Raise `UsageError` for what is no open transaction."""
    if not callable(getattr(tx, "execute", None)):
        msg = f"tx= is an open transaction: a psycopg connection, or what tx() of an integration gives, not {_said(tx)}"
        raise UsageError(msg)


def check_callable(name: str, what: str, given: object) -> None:
    """Raise `UsageError` unless it can be called."""
    if given is not None and not callable(given):
        msg = f"{name}: {what}= is a function, not {_said(given)}"
        raise UsageError(msg)


def _said(value: object) -> str:
    return f"{value!r} (a {type(value).__name__})"
