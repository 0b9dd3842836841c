"""structlog: where in a run a line was written.

    structlog.configure(processors=[..., add_run_context, structlog.processors.JSONRenderer()])

Programs that log by the standard library have the filter `troth.workflow.context.RunContextFilter`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from troth.workflow.context import whereabouts


def add_run_context(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A processor: add `run_id` and `workflow`, and in the body of a step `step`, `attempt` and `worker`.

    What the line says itself stays. Outside of runs nothing is added.
    """
    for name, value in whereabouts().items():
        event.setdefault(name, value)
    return event
