"""Run the mailbox: `python -m examples.signup.mailbox --data mailbox.sqlite`."""

import argparse
import asyncio
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from aiosmtpd.smtp import SMTP

from examples.signup.mailbox.app import KINDS, Api, Handler
from examples.signup.mailbox.store import Store
from examples.signup.outside.faults import Faults
from examples.signup.outside.serving import listen, port_of, serve


async def run(store: Store, smtp: socket.socket, http: socket.socket) -> None:
    """Serve both until SIGTERM."""
    faults = Faults(KINDS, ("to", "subject"))
    handler = Handler(store, faults)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="mailbox.localhost", enable_SMTPUTF8=True), sock=smtp
    )
    ports = {"smtp_port": port_of(smtp), "http_port": port_of(http)}
    try:
        await serve(Api(store, faults), http, ports)
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.signup.mailbox", description=__doc__)
    parser.add_argument("--smtp-port", type=int, default=0, help="on 127.0.0.1; 0: a free one")
    parser.add_argument("--http-port", type=int, default=0, help="on 127.0.0.1; 0: a free one")
    parser.add_argument("--data", type=Path, required=True, help="the SQLite file; made if missing")
    options = parser.parse_args()
    try:
        store = Store(options.data)
        smtp, http = listen(options.smtp_port), listen(options.http_port)
    except (sqlite3.Error, OSError) as error:
        sys.exit(f"mailbox: cannot start with {options.data}: {error}")
    with closing(store):
        asyncio.run(run(store, smtp, http))


if __name__ == "__main__":
    main()
