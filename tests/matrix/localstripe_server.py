"""
Start localstripe, a provider written by others, for one test: on 127.0.0.1 only, and with its data in memory.

It runs in an environment and a process of its own (`.venv-localstripe`), and nothing here is imported by the rest. By
itself it listens on every interface, and keeps what it knows in one file that all its instances share.
"""

import argparse
import json
import socket
import sys

from aiohttp import web
from localstripe import resources, server


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    resources.Store.dump_to_disk = lambda self: None
    resources.Store.try_load_from_disk = lambda self: None
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    sys.stdout.write(json.dumps({"port": bound.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    web.run_app(server.app, sock=bound, access_log=None, print=None)


if __name__ == "__main__":
    main()
