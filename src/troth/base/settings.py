"""Every setting of troth, in one object: what it means, its unit, its default, and the variable that sets it.

An argument in the code wins over the environment, and that over the default. A variable that is empty is one that is not
set. `troth config` lists all of them; so does docs/reference/settings.md, which is made of the same table.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from troth.base.errors import UsageError
from troth.base.ids import MAX_CELL

log = logging.getLogger("troth")

PREFIX = "TROTH_"
# Not settings, and known: the command line's own, and what troth's tests say to each other.
_KNOWN_BESIDE = re.compile(r"TROTH_DEBUG|TROTH_TEST_\w+")

LogFormat: TypeAlias = Literal["human", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a setting beside its default."""

    meaning: str
    read: Callable[[str], Any]  # raises `ValueError`
    type: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    argument: str = ""  # where code may say it

    @property
    def allowed(self) -> str:
        """What a value must be, for people."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        what = {"int": "a whole number", "float": "a number"}.get(self.type, "a text")
        if self.unit:
            what += f" of {self.unit}"
        if self.most is not None:
            return f"{what} from {self.least:g} to {self.most:g}"
        return what if self.least is None else f"{what}, at least {self.least:g}"


def _number(
    default: int,
    meaning: str,
    least: int,
    argument: str,
    *,
    most: int | None = None,
    unit: str = "",
) -> int:
    about = About(meaning, int, "int", unit, least, most, argument=argument)
    made: int = field(default=default, metadata={"about": about})
    return made


def _seconds(default: float, meaning: str, least: float, argument: str) -> float:
    about = About(meaning, float, "float", "seconds", least, argument=argument)
    made: float = field(default=default, metadata={"about": about})
    return made


def _text(
    default: Any,
    meaning: str,
    argument: str,
    read: Callable[[str], Any] = str,
    choices: tuple[str, ...] = (),
) -> Any:
    about = About(
        meaning, read, "path" if read is Path else "str", choices=choices, argument=argument
    )
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds where the code says nothing else. `Settings()` are the defaults, `read()` is what the environment says."""

    database_url: str | None = _text(
        None,
        "The PostgreSQL to use. Without it libpq's PG* variables say which, and without those it is an embedded server.",
        "Troth(url=)",
    )
    schema: str = _text("troth", "The schema that holds everything of troth.", "Troth(schema=)")
    cell: int = _number(
        0, "The number of the cell, which the ids of runs carry.", 0, "Troth(cell=)", most=MAX_CELL
    )
    directory: Path = _text(  # noqa: RUF009  (a field)
        Path(".troth"), "Where the embedded server keeps its data.", "Troth(directory=)", Path
    )
    embedded_uid: str = _text(
        "65534", "The id of the user as whom root runs the embedded server.", ""
    )
    processes: int = _number(
        1, "Worker processes; a core each is enough.", 1, "troth worker --processes"
    )
    concurrency: int = _number(
        1000,
        "Runs in memory at once, in each worker process.",
        1,
        "NodeOptions(concurrency=)",
        unit="runs",
    )
    connections: int = _number(
        10,
        "Connections for transaction steps, in each worker process; twice if `def` steps use them.",
        2,
        "NodeOptions(connections=)",
        unit="connections",
    )
    threads: int = _number(
        32,
        "Threads for `def` steps, in each worker process.",
        1,
        "NodeOptions(threads=)",
        unit="threads",
    )
    lease_s: float = _seconds(
        5.0,
        "Others take over after a worker process was silent for this long.",
        1,
        "NodeOptions(lease_s=)",
    )
    block_limit_s: float = _seconds(
        30.0,
        "An event loop that is blocked for longer gives up its lease.",
        1,
        "NodeOptions(block_limit_s=)",
    )
    drain_s: float = _seconds(
        30.0,
        "How long steps that are running may take to end when a worker is stopped.",
        0,
        "NodeOptions(drain_s=)",
    )
    journal_warning: int = _number(
        10_000,
        "Journal entries of one run at which the log has a warning.",
        1,
        "NodeOptions(journal_warning=)",
        unit="entries",
    )
    journal_limit: int = _number(
        50_000,
        "Journal entries of one run at which it stands in attention.",
        1,
        "NodeOptions(journal_limit=)",
        unit="entries",
    )
    log_format: LogFormat = _text(  # noqa: RUF009  (a field)
        "human",
        "Log lines of workers for people (human) or programs (json).",
        "troth worker --log-format",
        choices=get_args(LogFormat),
    )
    log_level: LogLevel = _text(  # noqa: RUF009  (a field)
        "info",
        "The least that workers log.",
        "troth worker --log-level",
        choices=get_args(LogLevel),
    )


DEFAULTS = Settings()
TABLE: Mapping[str, About] = {each.name: each.metadata["about"] for each in fields(Settings)}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def read(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that the environment says, and the defaults. Raises `UsageError` for a value that cannot be."""
    given = os.environ if environ is None else environ
    return Settings(
        **{name: value(name, text) for name in TABLE if (text := given.get(variable(name)))}
    )


def value(name: str, text: str) -> Any:
    """The value of a setting that is written as *text*. Raises `UsageError`."""
    about = TABLE[name]
    try:
        found = about.read(text)
        fits = (
            (not about.choices or found in about.choices)
            and (about.least is None or found >= about.least)
            and (about.most is None or found <= about.most)
            and (not isinstance(found, float) or math.isfinite(found))
        )
    except ValueError:
        fits = False
        found = None
    if not fits:
        msg = f"{variable(name)} is {text!r}: it must be {about.allowed}"
        raise UsageError(msg)
    return found


def unknown(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """The variables that look like settings of troth and are none, each with the one that was perhaps meant."""
    given = os.environ if environ is None else environ
    names = [variable(name) for name in TABLE]
    return {
        each: next(iter(difflib.get_close_matches(each, names, 1, 0.75)), None)
        for each in sorted(given)
        if each.startswith(PREFIX) and each not in names and not _KNOWN_BESIDE.fullmatch(each)
    }


def complaint(name: str, meant: str | None) -> str:
    """What to say of an unknown variable."""
    advice = f"did you mean {meant}?" if meant else "`troth config` lists those that there are"
    return f"the environment has {name}, which is no setting of troth: {advice}"


_told: set[str] = set()


def warn_of_unknown(environ: Mapping[str, str] | None = None) -> None:
    """Log a warning for each unknown variable, once in a process."""
    for name, meant in unknown(environ).items():
        if name not in _told:
            _told.add(name)
            log.warning("%s", complaint(name, meant))


_IN_URL = re.compile(r"(://[^:/?#@]*:).*@")
_IN_WORDS = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)")


def shown(found: object) -> str:
    """A value for people: passwords in URLs are hidden."""
    if found is None:
        return ""
    return _IN_WORDS.sub(r"\1***", _IN_URL.sub(r"\1***@", str(found)))
