"""`troth worker`: processes that execute runs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Annotated

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli.durations import Length
from troth.cli.logs import LogFormat, LogLevel, configure

app = App(name="worker")

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
Format = Annotated[LogFormat, Parameter(help="Log lines for people (human) or programs (json).")]
Level = Annotated[LogLevel, Parameter(help="The least that is logged.")]


@app.default
def worker(
    program: Target,
    /,
    *,
    processes: Annotated[int, Parameter(help="How many processes; a core each is enough.")] = 1,
    concurrency: Annotated[int, Parameter(help="Runs in memory at once, in each process.")] = 1000,
    connections: Annotated[
        int,
        Parameter(
            help="Connections for transaction steps, in each process; twice if `def` steps use them."
        ),
    ] = 10,
    threads: Annotated[int, Parameter(help="Threads for `def` steps, in each process.")] = 32,
    lease: Annotated[
        Length, Parameter(help="Others take over after a process was silent for this long.")
    ] = 5.0,
    drain: Annotated[
        Length, Parameter(help="How long steps that are running may take to end when stopped.")
    ] = 30.0,
    database_url: DatabaseUrl = None,
    log_format: Format = "human",
    log_level: Level = "info",
) -> int:
    """Run worker processes for a program, and replace those that die.

    SIGTERM or Ctrl-C: running steps end, all other runs are handed over at once. A second one stops now; what was
    running is taken over by others after the lease.

    Example: troth worker shop.app:troth --processes 4 --log-format json
    """
    from troth.cli.serve import Order
    from troth.worker.node import NodeOptions

    for name, value in {
        "processes": processes,
        "concurrency": concurrency,
        "threads": threads,
    }.items():
        _require(name, value, 1)
    _require("connections", connections, 2)
    _require("lease", lease, 1)
    options = NodeOptions(
        concurrency=concurrency,
        connections=connections,
        threads=threads,
        lease_s=lease,
        drain_s=drain,
    )
    configure(log_format, log_level)
    return asyncio.run(
        _supervise(program, processes, Order(options, log_format, log_level, database_url))
    )


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


def _require(name: str, value: float, least: float) -> None:
    if value < least:
        msg = f"--{name} must be at least {least:g}, not {value:g}"
        raise UsageError(msg)
