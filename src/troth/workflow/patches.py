"""`troth.patch`: a run answers once and for all whether it takes the new branch of a change, and stays with it.

It takes the new one if it comes to the question with nothing left to replay: all that it has done so far, the old and the
new code have in common. Both answers are recorded, beside the order of deliveries and with whatever is recorded next. So
the answer is durable before anything that follows from it is, and costs no commit; and it stays after a crash, after a
takeover, and when the run is sent back to an earlier step.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from troth.base.errors import UsageError
from troth.journal.model import PATCH_PREFIX, Entry, Kind
from troth.workflow.runloop import RunLeftMemoryError

if TYPE_CHECKING:
    from troth.workflow.run import ActiveRun

_NAME = re.compile(r"[A-Za-z0-9_][\w.\-]{0,99}")


class Patches:
    """The answers of one run."""

    __slots__ = ("answers", "unwritten")

    def __init__(self) -> None:
        self.answers: dict[str, bool] = {}  # since it is in memory
        self.unwritten: dict[str, bool] = {}  # not recorded yet

    def ask(self, run: ActiveRun, name: str) -> bool:
        """Does this run take the new branch? Raises `UsageError` for what cannot be a name."""
        if run.disposed:
            raise RunLeftMemoryError
        answer = self.answers.get(name)
        if answer is None:
            check_name(name)
            answer = self.answers[name] = self._first(run, name)
        return answer

    def _first(self, run: ActiveRun, name: str) -> bool:
        recorded = run.past.entries(f"{PATCH_PREFIX}{name}", Kind.PATCH)
        if recorded:
            return bool(recorded[0].ok)
        # What the code has called just now is not looked at yet, and owed until then.
        old = bool(run.past.order) or any(path not in run.calls for path in run.past.owed)
        self.unwritten[name] = not old
        return not old

    def write(self, run_id: UUID, at: float) -> list[Entry]:
        """The entries that are not recorded yet; they are to be recorded now."""
        made = [
            Entry(run_id, f"{PATCH_PREFIX}{name}", Kind.PATCH, 0, None, answer, None, None, at)
            for name, answer in self.unwritten.items()
        ]
        self.unwritten.clear()
        return made


def check_name(name: object) -> None:
    """Raise `UsageError` for what cannot name a patch."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return
    msg = f"{name!r} cannot name a patch: up to 100 letters, digits, _ . - only"
    raise UsageError(msg)
