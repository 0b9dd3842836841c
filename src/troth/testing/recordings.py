"""A recorded run as a test: `troth run export` writes it, and whoever changes the workflow hears if it would not go on."""

from __future__ import annotations

from pathlib import Path

from troth.workflow import replay as replaying
from troth.workflow.decorators import Definitions
from troth.workflow.recorded import Recorded, from_lines


def recordings(file: Path | str) -> list[Recorded]:
    """The runs that `troth run export` has written to *file*. Raises `UsageError` for what is none."""
    return list(from_lines(Path(file).read_text().splitlines(), where=str(file)))


def replay(troth: Definitions, *recorded: Recorded) -> None:
    """Run the workflows of *troth* against recorded runs; nothing is performed.

    Raises `ReplayError`, an `AssertionError`, with the first difference if the code would go another way.
    """
    for run in recorded:
        found = replaying.replay(troth.every_workflow, run)
        if not found.clean:
            lines = "\n".join(found.lines())
            raise replaying.ReplayError(f"run {run.id} ({run.workflow}): {lines}")
