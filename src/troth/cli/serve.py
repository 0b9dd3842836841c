"""The program of one worker process: `python -m troth.cli.serve MODULE:NAME CONTROL`, started by `troth worker` and `dev`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import msgspec

from troth.app import Troth
from troth.base.errors import UsageError
from troth.base.settings import LogFormat, LogLevel
from troth.cli import target
from troth.cli.failure import fail
from troth.cli.logs import configure
from troth.store.connect import Database, connect_blocking, place
from troth.store.migrate import migrate, require_schema_blocking
from troth.worker.node import NodeOptions
from troth.worker.process import read_order, work


class Order(msgspec.Struct, frozen=True):
    """What the parent wants. *database_url* wins over what the program says. *metrics_port*: the first of *metrics_ports*."""

    options: NodeOptions
    log_format: LogFormat
    log_level: LogLevel
    database_url: str | None = None
    migrate: bool = False
    metrics_port: int | None = None
    metrics_ports: int = 1


class Hello(msgspec.Struct, frozen=True):
    """What the process tells its parent when it begins to work."""

    database: str  # for people: without a password
    origin: str  # who chose it
    schema: str
    workflows: list[str]
    directory: str  # of the embedded server, if that is the database
    url: str  # for programs: it may carry a password, and stays between the two processes


def command(name: str) -> list[str]:
    """The command line of a worker process for MODULE:NAME."""
    return [sys.executable, "-m", "troth.cli.serve", name]


def serve(name: str, control: socket.socket) -> None:
    """Work until told to stop. Raises `TrothError` when it cannot begin."""
    order = msgspec.json.decode(read_order(control), type=Order)
    configure(order.log_format, order.log_level)
    program = target.find(name)
    with Database.find(order.database_url or program.url, program.directory) as database:
        if order.migrate or database.origin == "embedded":
            migrate(database.url, program.schema)
        # Asked here, where a database that is down is an answer and not a pool that goes on trying.
        with connect_blocking(database.url) as connection:
            require_schema_blocking(connection, program.schema)
        program.url = database.url
        if order.metrics_port is not None:
            serve_metrics(program, order.metrics_port, order.metrics_ports)
        hello = Hello(
            database=database.url if database.origin == "embedded" else place(database.url),
            origin=database.origin,
            schema=program.schema,
            workflows=sorted(program.workflows),
            directory=str(Path(program.directory).resolve()),
            url=database.url,
        )
        asyncio.run(work(program, order.options, control, msgspec.json.encode(hello)))


def serve_metrics(program: Troth, port: int, ports: int) -> None:
    """Answer Prometheus. Raises `UsageError` if that is not installed, or if no port is free."""
    try:
        from troth.integrations.prometheus import Exporter
    except ModuleNotFoundError as missing:
        msg = f"--metrics-port needs {missing.name}: pip install 'troth[prometheus]'"
        raise UsageError(msg) from None
    Exporter(program).serve(port, ports=ports)


def main() -> None:
    """End with an exit code, at once: a `def` step that hangs in its thread must not hold the process."""
    try:
        serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
        code = 0
    except EOFError:  # the parent is gone already
        code = 0
    except Exception as error:  # noqa: BLE001  (the last place to tell anybody)
        code = fail(error)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
