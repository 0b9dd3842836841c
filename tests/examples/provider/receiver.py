"""A server that takes webhooks, remembers their bytes, and answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.harness.postgres import wait_until


@dataclass(frozen=True)
class Taken:
    body: bytes
    signature: str
    answered: int

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver:
    """`answers` are used up one by one; then it says 200."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.taken: list[Taken] = []
        self.answers: list[int] = []
        self._lock = threading.Lock()

    def take(self, body: bytes, signature: str) -> int:
        with self._lock:
            answer = self.answers.pop(0) if self.answers else 200
            self.taken.append(Taken(body, signature, answer))
            return answer

    def ids(self) -> list[str]:
        return [one.event["id"] for one in self.taken]

    def types(self) -> list[str]:
        return [one.event["type"] for one in self.taken]

    def until(self, number: int) -> None:
        """Return once so many came; within ten seconds, or fail."""
        wait_until(lambda: len(self.taken) >= number, f"{number} webhooks", timeout=10)


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.take(body, self.headers["stripe-signature"]))
            self.send_header("content-length", "0")
            self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/webhooks")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
