"""What processes write while they work: log lines with run and step, for people or for programs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from troth.base.settings import LogFormat, LogLevel
from troth.workflow.context import WHERE, RunContextFilter


def configure(style: LogFormat, level: LogLevel) -> None:
    """Send what this process logs to standard error, each record on a line of its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RunContextFilter())
    handler.setFormatter(JsonFormatter() if style == "json" else HumanFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The pool's own account of connections that are lost; what follows from them is told by troth.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


class HumanFormatter(logging.Formatter):
    """Time, level, process, what happened; and of which run and step, if of one."""

    def __init__(self) -> None:
        line = "%(asctime)s.%(msecs)03d %(levelname)-7s %(process)d %(message)s%(where)s"
        super().__init__(line, "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        run, step = getattr(record, "run_id", "-"), getattr(record, "step", "-")
        record.where = "" if run == "-" else f"  [{run}]" if step == "-" else f"  [{run} {step}]"
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what says where in a run it was written is null outside of one."""

    def format(self, record: logging.LogRecord) -> str:
        where = {name: getattr(record, name, "-") for name in WHERE}
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **{name: None if value == "-" else value for name, value in where.items()},
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)
