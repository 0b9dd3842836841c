"""Time, sleep and randomness of an attempt come from the lab (`moments`)."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from troth.lab import moments
from troth.lab.edge.attempt import Attempt, current
from troth.lab.edge.patch import replaced
from troth.lab.model import Op

_datetime, _date = dt.datetime, dt.date
_time, _time_ns, _sleep, _asyncio_sleep, _urandom = (
    time.time,
    time.time_ns,
    time.sleep,
    asyncio.sleep,
    os.urandom,
)
_getpid, _localtime, _clock_gettime = os.getpid, time.localtime, time.clock_gettime
_strftime, _asctime, _uuid1 = time.strftime, time.asctime, uuid.uuid1
_INFRASTRUCTURE = (
    "logging",
    "http.cookiejar",
    "asyncio",
    "anyio",
    "httpx",
    "requests",
    "urllib3",
    "aiohttp",
    "asyncpg",
    "redis.",
    "sqlalchemy.dialects.",
    "celery",
    "kombu",
    "email.",
    "django.db.backends.",
    "asgiref",
    "starlette",
    "concurrent",
    "threading",
    "ssl",
    "troth.lab.",
)
"""Whose readings of the clock do not decide anything; drawing a tick for them would double the graph for nothing."""

names = moments.Names()
"""Process-wide, because what was issued once can be met again in any world."""


def tick(attempt: Attempt) -> int:
    """The tick of the attempt; the first reading asks the lab for it."""
    if attempt.tick is None:
        attempt.tick = int(attempt.ask(Op("clock")).value)
    return attempt.tick


def seed(attempt: Attempt) -> int:
    """The seed of the attempt's random values; the first draw asks the lab for it."""
    if attempt.seed is None:
        attempt.seed = int(attempt.ask(Op("draw")).value)
    return attempt.seed


def _now(depth: int = 2) -> float | None:
    attempt = current.get()
    if attempt is None or attempt.refused:
        return None
    caller = sys._getframe(depth).f_globals.get("__name__", "")  # noqa: SLF001  (one frame, on a hot path)
    if caller.startswith(_INFRASTRUCTURE):
        return None
    now = moments.instant(tick(attempt), attempt.reads)
    attempt.reads += 1
    return now


def _lab_time() -> float:
    now = _now()
    return _time() if now is None else now


def _lab_time_ns() -> int:
    now = _now()
    return _time_ns() if now is None else int(now * 1_000_000_000)


def _now_by_default(function: Any, position: int) -> Any:
    """A function of `time` that means now when the argument at `position` is missing or None."""

    def of_the_lab(*arguments: Any) -> Any:
        if len(arguments) > position and arguments[position] is not None:
            return function(*arguments)
        now = _now()
        if now is None:
            return function(*arguments)
        moment = _localtime(now) if function in {_strftime, _asctime} else now
        return function(*arguments[:position], moment)

    return of_the_lab


def _lab_clock_gettime(clock: int, /) -> float:
    now = _now() if clock == time.CLOCK_REALTIME else None
    return _clock_gettime(clock) if now is None else now


class Idle(BaseException):
    """Ends an endless loop where it sleeps. Not an `Exception`, so that the loop's own handlers let it pass."""


def _end_a_loop() -> None:
    """Whether it is the worker's own loop that sleeps: not what it calls, which waits before it tries again."""
    attempt = current.get()
    if attempt is not None and attempt.loop is not None:
        caller = sys._getframe(2)  # noqa: SLF001  (one frame)
        if caller.f_code is attempt.loop:
            raise Idle


def _lab_sleep(seconds: float, /) -> None:
    if current.get() is None:
        _sleep(seconds)
    _end_a_loop()


async def _lab_asyncio_sleep(delay: float, result: Any = None) -> Any:
    _end_a_loop()
    return await _asyncio_sleep(delay if current.get() is None else 0, result)


def _lab_urandom(size: int, /) -> bytes:
    attempt = current.get()
    if attempt is None or attempt.refused:
        return _urandom(size)
    attempt.draws += 1
    return names.draw(seed(attempt), attempt.draws, size)


def _lab_uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    """It would ask C for the time: under the lab it is as random as any."""
    attempt = current.get()
    if attempt is None or attempt.refused:
        return _uuid1(node, clock_seq)
    return uuid.UUID(bytes=_lab_urandom(16))


def _lab_getpid() -> int:
    attempt = current.get()
    caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  (one frame)
    if attempt is not None and not attempt.refused and not caller.startswith(_INFRASTRUCTURE):
        attempt.refuse(
            "the code asks for its process id, which a crash changes; that is not explored yet"
        )
    return _getpid()


class _Same(type):
    """A stand-in for a class: instances of the original are its instances."""

    original: type

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.original)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.original)


class LabDatetime(dt.datetime, metaclass=_Same):
    """`datetime.datetime` whose `now` is the lab's. It makes only real datetimes."""

    original = _datetime

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _datetime(*args, **kwargs)

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        now = _now()
        return _datetime.now(tz) if now is None else _datetime.fromtimestamp(now, tz)

    @classmethod
    def today(cls) -> Any:
        now = _now()
        return _datetime.now() if now is None else _datetime.fromtimestamp(now)

    @classmethod
    def utcnow(cls) -> Any:
        now = _now()
        at = _datetime.now(dt.UTC) if now is None else _datetime.fromtimestamp(now, dt.UTC)
        return at.replace(tzinfo=None)


class LabDate(dt.date, metaclass=_Same):
    """`datetime.date` whose `today` is the lab's. It makes only real dates."""

    original = _date

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _date(*args, **kwargs)

    @classmethod
    def today(cls) -> Any:
        now = _now()
        return _date.today() if now is None else _date.fromtimestamp(now)


def real_date_in(data: bytes) -> str | None:
    """Today's real date, if it is in the data: the lab's own clock is years ahead."""
    now = _time()
    days = (_datetime.fromtimestamp(now, dt.UTC), _datetime.fromtimestamp(now))
    forms = {
        day.strftime(form)
        for day in days
        for form in ("%Y-%m-%d", "%Y%m%d", "%a %b %e", "%d.%m.%Y")
    }
    return next((form for form in sorted(forms) if form.encode() in data), None)


@contextmanager
def caught() -> Iterator[None]:
    """Attempts get the lab's clock and randomness while the context lasts."""
    with replaced({
        (time, "time"): _lab_time,
        (time, "time_ns"): _lab_time_ns,
        (time, "clock_gettime"): _lab_clock_gettime,
        **{(time, name): _now_by_default(getattr(time, name), 0) for name in ("localtime", "gmtime", "ctime", "asctime")},
        (time, "strftime"): _now_by_default(time.strftime, 1),
        (time, "sleep"): _lab_sleep,
        (asyncio, "sleep"): _lab_asyncio_sleep,
        (os, "urandom"): _lab_urandom,
        (os, "getpid"): _lab_getpid,
        (uuid, "uuid1"): _lab_uuid1,
        (random, "_urandom"): _lab_urandom,
        (dt, "datetime"): LabDatetime,
        (dt, "date"): LabDate,
    }):  # fmt: skip
        yield
