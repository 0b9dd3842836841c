"""What the lab says in the end: one word, the model under which it is said, and the smallest failing histories."""

from __future__ import annotations

from typing import Literal

import msgspec

from troth.base.errors import TrothError
from troth.lab.promise import FAILING, Promise
from troth.lab.show.document import Asked, Map, Need, Numbers, Remedy, Site, Twin

Word = Literal["HOLDS", "VIOLATED", "BOUNDED", "REFUSED", "DISAGREED"]
"""HOLDS: the graph closed under the printed model, and real processes that really died confirmed every kind of its edges.
DISAGREED: a real process did something else than the search says."""


class Line(msgspec.Struct, frozen=True):
    """One line of a counterexample: what really happened beside what the one who asked was told."""

    actor: str
    happened: str
    told: str = ""
    site: str = ""
    fault: bool = False
    irreversible: bool = False
    """The first step of the history that cannot be taken back."""
    attempt: int = 0
    step: int = 0
    """Its position in the path."""
    op: str = ""
    params: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    word: str = ""
    """What the fault is counted as."""


class Study(msgspec.Struct, frozen=True):
    """What was asked about a history, as far as there was time for it."""

    needs: tuple[Need, ...] = ()
    twin: Twin | None = None
    assumptions: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    similar_sites: tuple[Site, ...] = ()


class Counterexample(msgspec.Struct, frozen=True):
    """The smallest history that breaks a promise."""

    promise: Promise
    faults: tuple[str, ...]
    lines: tuple[Line, ...]
    world: tuple[str, ...]
    """What the world looks like then, where it differs from the beginning."""
    stuck: bool = False
    study: Study = Study()
    schedule: tuple[tuple[object, ...], ...] = ()
    """The history as data, for `rerun`."""
    id: str = ""
    """What it is called when it is asked for again; the same for the same history."""


class Verdict(msgspec.Struct, frozen=True):
    """The result of a search.

    `closed`: the graph of states was exhausted under `model`, each local history was executed twice, and nothing in it is
    uncertain. It is the word HOLDS only if real processes have confirmed it. `unexplored` names what was not searched.
    """

    word: Word
    title: str
    model: tuple[str, ...] = ()
    unexplored: tuple[str, ...] = ()
    closed: bool = False
    open_because: tuple[str, ...] = ()
    counterexamples: tuple[Counterexample, ...] = ()
    kept: tuple[Promise, ...] = ()
    reason: str = ""
    warnings: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    counts: Numbers = Numbers()
    asked: Asked = Asked()
    map: Map | None = None
    test: str = ""
    """The test in which it was found, as pytest calls it."""
    confirmed: str = ""
    """What real processes have confirmed, in words."""

    @property
    def failing(self) -> tuple[Counterexample, ...]:
        """The counterexamples that fail a test: money, lies, stuck, lost."""
        return tuple(one for one in self.counterexamples if one.promise.severity in FAILING)

    @property
    def exit_status(self) -> int:
        """0 HOLDS, 1 VIOLATED, 2 BOUNDED, 3 REFUSED, 4 DISAGREED."""
        return {"HOLDS": 0, "VIOLATED": 1, "BOUNDED": 2, "REFUSED": 3, "DISAGREED": 4}[self.word]

    def __str__(self) -> str:
        from troth.lab.report import render

        return render(self)


class Violation(AssertionError):
    """A promise is broken. The message is the report; `verdict` is the result as data."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


class Refusal(TrothError):
    """The lab cannot speak about this code, and says why. `verdict` is the result as data."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict
