"""The current attempt: one run of the real code, which asks here instead of doing I/O."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, NoReturn

from troth.lab.model import Observation, Op, Refused

if TYPE_CHECKING:
    from troth.lab.edge.tasks import Strand

MOST_OPERATIONS = 400
_INVOKED_FROM = tuple(
    str(Path(__file__).parents[1] / f"{name}.py") for name in ("request", "arrivals")
)
_TROTH = str(Path(__file__).parents[2])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class Stopped(BaseException):
    """Ends a run whose verdict is refused. Not an `Exception`, so that an application's handlers let it pass."""


class Helper:
    """A thread that works for an attempt.

    Args:
        parent: the one that has started it, if that is not the attempt's own.
    """

    def __init__(self, parent: Helper | None) -> None:
        self.parent = parent
        self.asked = False
        self.gate: Callable[[Op], None] | None = None
        """Where it waits for its turn before it asks, if others work beside it."""
        self.awaited = False
        """Whether somebody has waited for it: then all that it has asked came before what that one asks."""

    def line(self) -> Iterator[Helper]:
        """It, and those whose help it is."""
        one: Helper | None = self
        while one is not None:
            yield one
            one = one.parent


helper: ContextVar[Helper | None] = ContextVar("troth.lab.helper", default=None)


class Attempt:
    """One run of the real code.

    Args:
        respond: decides what an operation observes; it gets the operation and its call site.
        ordered: whether the order of its operations must be forced. Start-up code runs once, as it comes.
    """

    def __init__(self, respond: Callable[[Op, str], Observation], *, ordered: bool = True) -> None:
        self.ordered = ordered
        self._respond = respond
        self.refused: str | None = None
        self.failure = ""
        """What the code raised to its server, if it did."""
        self.responding = False
        """While the lab itself works for the attempt; its own files are no escapes."""
        self.kept: list[Callable[[], None]] = []
        """What to do when the run is over, for what the code leaves open."""
        self.handles = count(1)
        self.operations = 0
        self.strands: list[Strand] = []
        """Its tasks."""
        self.helpers: list[Helper] = []
        """Its threads."""
        self.made_up: set[str] = set()
        """Names that a library has invented, and that nobody may depend on."""
        self.blocking = False
        """Whether its code runs as in a process without an event loop."""
        self.loop: CodeType | None = None
        """The worker's endless loop, which ends where it sleeps."""
        self.tick: int | None = None
        self.reads = 0
        self.seed: int | None = None
        self.draws = 0
        self.redis = ""
        """How the last command to Redis failed: "lost", or "down", which lasts."""

    def ask(self, op: Op, site: str = "") -> Observation:
        """Perform an operation, or be given what was recorded for it. `site`: where it was asked, if not here."""
        if self.refused:
            raise Stopped
        if (mine := helper.get()) is not None and mine.gate is not None:
            mine.gate(op)
        if self.rivals():
            self.refuse_concurrency()
        self._beside_threads()
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            self.refuse(
                f"one attempt does not end: {MOST_OPERATIONS} operations, the last is {op.kind} {op.text!r}"
            )
        site = site or call_site()
        self.responding = True
        try:
            return self._respond(op, site)
        except Stopped:
            raise
        except Refused as refused:
            self.refuse(str(refused))
        except Exception as error:  # noqa: BLE001  (whatever the lab fails at refuses the verdict)
            self.refuse(f"{op.kind} {op.text!r}: {type(error).__name__}: {error}")
        finally:
            self.responding = False

    def refuse(self, reason: str) -> NoReturn:
        """End the run: the lab cannot speak about this code, and says why."""
        self.refused = self.refused or reason
        raise Stopped

    def refuse_concurrency(self) -> NoReturn:
        """Two tasks of the attempt could act in either order."""
        self.refuse(
            "concurrent tasks inside one attempt (gather, create_task) are not explored yet"
        )

    def _beside_threads(self) -> None:
        """Whether a thread has asked something that could as well come after what is asked now."""
        mine = helper.get()
        line = () if mine is None else tuple(mine.line())
        if any(one.asked and not one.awaited and one not in line for one in self.helpers):
            self.refuse("a thread acts beside others of the same attempt; that is not explored yet")
        for one in line:
            one.asked = True

    def rivals(self) -> bool:
        """Whether another task of the attempt than the one that asks could run now."""
        from troth.lab.edge.tasks import strand

        if not self.ordered:
            return False
        mine = strand.get()
        return any(other is not mine and other.able_to_run for other in self.strands)


current: ContextVar[Attempt | None] = ContextVar("troth.lab.attempt", default=None)
_running: list[Attempt] = []


@contextmanager
def running(attempt: Attempt) -> Iterator[None]:
    """The attempt is what this context, and whatever it starts, belongs to."""
    token = current.set(attempt)
    _running.append(attempt)
    try:
        yield
    finally:
        _running.pop()
        current.reset(token)


def attributed(what: str) -> Attempt:
    """The attempt that makes this call. A call that belongs to none, while the lab works, refuses the verdict."""
    attempt = current.get()
    if attempt is not None and attempt in _running:
        return attempt
    reason = f"{what}, from a thread or task that the lab does not follow"
    escaped.append(reason)
    for one in _running:
        one.refused = one.refused or reason
    raise Stopped(reason)


escaped: list[str] = []
"""Why calls outside any attempt refuse the verdict. Emptied when the lab starts to work."""


def call_site() -> str:
    """`file:line function` of the innermost frame that belongs to the application."""
    return site_of(sys._getframe(2))  # noqa: SLF001  (what `inspect` does, without reading sources)


def site_of(frame: FrameType | None) -> str:
    """The same, from a frame outwards."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file in _INVOKED_FROM:
            break  # further out is the test, not the application
        if ours(file):
            return f"{Path(file).name}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return ""


@cache
def ours(file: str) -> bool:
    """Whether a file belongs to the application, not to Python, its packages, or the lab."""
    return not file.startswith(("<", _TROTH, *_LIBRARIES))
