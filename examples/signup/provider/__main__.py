"""Run the provider: `python -m examples.signup.provider --port 0 --data provider.sqlite`."""

import argparse
import asyncio
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from examples.signup.outside.serving import listen, port_of, serve
from examples.signup.provider.app import Provider
from examples.signup.provider.store import Store
from examples.signup.provider.wires import Bank


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.signup.provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="the SQLite file; made if missing")
    parser.add_argument(
        "--bank", help="the URL of the bank to which payouts go; without it there are none"
    )
    parser.add_argument("--bank-account", default="SIGNUP", help="the account there")
    options = parser.parse_args()
    bank = Bank(options.bank, options.bank_account) if options.bank else None
    try:
        store = Store(options.data, bank=bank is not None)
        bound = listen(options.port)
    except (sqlite3.Error, OSError) as error:
        sys.exit(f"provider: cannot start with {options.data} and port {options.port}: {error}")
    with closing(store):
        asyncio.run(run(Provider(store, bank), bound))


async def run(provider: Provider, bound: socket.socket) -> None:
    async with provider.at_work():
        await serve(provider, bound, {"port": port_of(bound)})


if __name__ == "__main__":
    main()
