"""WSGI applications: Django, Flask and the like, served as by one thread of a server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable
from typing import Any

from troth.lab.edge.attempt import Attempt
from troth.lab.homes import homes_of
from troth.lab.request import HttpApp, HttpCall, described_error, tell


class WsgiApp(HttpApp):
    """A WSGI application: `lab.wsgi(application).post("/checkout", data={...})` is a request as a value."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        super().__init__(app)
        self.kind = WsgiCall


class WsgiCall(HttpCall):
    """One request to a WSGI application. The answer reaches the caller when all of it was sent; what the server closes comes after it."""

    def __init__(self, app: Callable[..., Any], *request: Any) -> None:
        super().__init__(app, *request)
        self._wsgi = app
        self.app: Any = None  # it has no start-up code of its own

    async def invoke(self, attempt: Attempt) -> None:
        await asyncio.to_thread(self._serve, attempt)

    def _serve(self, attempt: Attempt) -> None:
        status, body, told = 500, bytearray(), False

        def start_response(line: str, _: object, error: object = None) -> Callable[[bytes], None]:
            nonlocal status
            del error
            status = int(line.split(" ", 1)[0])
            return body.extend

        try:
            answered = self._wsgi(self._environ(), start_response)
            try:
                for piece in answered:
                    body.extend(piece)
                if status >= 500:
                    attempt.failure = attempt.failure or f"{self.label} answers {status}"
                told = True
                tell(attempt, status, bytes(body))
            finally:
                if (close := getattr(answered, "close", None)) is not None:
                    close()
        except Exception as error:  # noqa: BLE001  (a server logs it)
            attempt.failure = described_error(error)
        if not told:
            tell(attempt, 500, b"")

    def _environ(self) -> dict[str, Any]:
        scope = self.scope
        made = {
            "REQUEST_METHOD": scope["method"],
            "SCRIPT_NAME": "",
            "PATH_INFO": scope["path"],
            "QUERY_STRING": scope["query_string"].decode(),
            "SERVER_NAME": "lab.test",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(self.body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for raw, value in scope["headers"]:
            name = raw.decode().upper().replace("-", "_")
            made[name if name == "CONTENT_TYPE" else f"HTTP_{name}"] = value.decode()
        return made

    def roots(self) -> dict[str, object]:
        return {"application": self._wsgi, **homes_of(self._wsgi)}
