"""`troth worker`: processes that execute runs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import replace
from typing import Annotated, Any

from cyclopts import App, Parameter

from troth.base import settings
from troth.base.errors import UsageError
from troth.base.settings import LogFormat, LogLevel
from troth.cli.durations import Length
from troth.cli.logs import configure
from troth.cli.worker_list import list_

app = App(name="worker")
app.command(list_, name="list")

_LAST_PORT = 65535

Target = Annotated[
    str, Parameter(help="The Troth object, as MODULE:NAME, imported from the current directory.")
]
DatabaseUrl = Annotated[
    str | None,
    Parameter(
        help="postgresql:// URL, instead of what the program says. Without either: TROTH_DATABASE_URL, then libpq's "
        "PGHOST, PGDATABASE or PGSERVICE, then the embedded server."
    ),
]


def _help(name: str, text: str = "") -> Parameter:
    """The parameter of a setting: what it means, and what holds without it."""
    default = getattr(settings.DEFAULTS, name)
    default = f"{default:g}s" if name.endswith("_s") else default
    meaning = text or settings.TABLE[name].meaning
    return Parameter(
        show_default=False, help=f"{meaning} Without it: {settings.variable(name)}, then {default}."
    )


MetricsPort = Annotated[
    int | None,
    Parameter(
        help="Answer Prometheus on this port; with several processes on as many ports from this one on, one each. Without "
        "it: no port."
    ),
]
Format = Annotated[LogFormat | None, _help("log_format")]
Level = Annotated[LogLevel | None, _help("log_level")]


@app.default
def worker(
    program: Target,
    /,
    *,
    processes: Annotated[int | None, _help("processes")] = None,
    concurrency: Annotated[int | None, _help("concurrency")] = None,
    connections: Annotated[int | None, _help("connections")] = None,
    threads: Annotated[int | None, _help("threads")] = None,
    lease: Annotated[Length | None, _help("lease_s")] = None,
    drain: Annotated[Length | None, _help("drain_s")] = None,
    database_url: DatabaseUrl = None,
    log_format: Format = None,
    log_level: Level = None,
    metrics_port: MetricsPort = None,
) -> int:
    """Run worker processes for a program, and replace those that die.

    SIGTERM or Ctrl-C: running steps end, all other runs are handed over at once. A second one stops now; what was
    running is taken over by others after the lease.

    Example: troth worker shop.app:troth --processes 4 --log-format json
    """
    from troth.cli.serve import Order
    from troth.worker.node import NodeOptions

    _require("processes", processes, "processes")
    _require("concurrency", concurrency, "concurrency")
    _require("connections", connections, "connections")
    _require("threads", threads, "threads")
    _require("lease", lease, "lease_s")
    said = settings.read()
    given: dict[str, Any] = {
        "concurrency": concurrency,
        "connections": connections,
        "threads": threads,
        "lease_s": lease,
        "drain_s": drain,
    }
    options = replace(NodeOptions(), **{n: v for n, v in given.items() if v is not None})
    processes = said.processes if processes is None else processes
    log_format, log_level = log_format or said.log_format, log_level or said.log_level
    configure(log_format, log_level)
    if metrics_port is not None and not 0 < metrics_port <= _LAST_PORT - processes + 1:
        msg = f"--metrics-port must be from 1 to {_LAST_PORT - processes + 1}, not {metrics_port}"
        raise UsageError(msg)
    order = Order(
        options,
        log_format,
        log_level,
        database_url,
        metrics_port=metrics_port,
        metrics_ports=processes,
    )
    return asyncio.run(_supervise(program, processes, order))


async def _supervise(program: str, processes: int, order: object) -> int:
    import msgspec

    from troth.cli.serve import Hello, command
    from troth.worker.supervisor import Supervisor, on_stop_signals

    def ready(said: bytes) -> None:
        hello = msgspec.json.decode(said, type=Hello)
        count = f"{processes} worker process" + ("es" if processes > 1 else "")
        print(
            f"{count} of {program} ready: schema {hello.schema}, {hello.database} (by {hello.origin}); "
            f"Ctrl-C or SIGTERM to {os.getpid()} stops",
            file=sys.stderr,
            flush=True,
        )

    supervisor = Supervisor(command(program), msgspec.json.encode(order), processes, ready=ready)
    log = logging.getLogger("troth.worker")
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        log.info("stopping" if asked == 1 else "stopping now")
        supervisor.stop()

    with on_stop_signals(stop):
        return await supervisor.run()


def _require(option: str, value: float | None, name: str) -> None:
    least = settings.TABLE[name].least
    if value is not None and least is not None and value < least:
        msg = f"--{option} must be at least {least:g}, not {value:g}"
        raise UsageError(msg)
