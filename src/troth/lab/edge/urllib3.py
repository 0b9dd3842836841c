"""urllib3, and with it requests and stripe: below its retries and redirects, so that those are the real ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from troth.lab.edge.attempt import current
from troth.lab.edge.exchange import ask
from troth.lab.edge.patch import replaced


@contextmanager
def caught(hosts: dict[str, str]) -> Iterator[None]:
    """Urllib3's connection pools ask the lab while the context lasts. Nothing is imported if the application has no urllib3."""
    if "urllib3" not in sys.modules:
        yield
        return
    from urllib3 import HTTPHeaderDict, connectionpool, exceptions, response

    real: Any = connectionpool.HTTPConnectionPool._make_request  # noqa: SLF001  (one attempt of its retries)

    def make_request(
        self: Any,
        conn: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        **options: Any,
    ) -> Any:
        if current.get() is None:
            return real(self, conn, method, url, body=body, headers=headers, **options)
        parts = urlsplit(url)
        observed = ask(
            hosts,
            method,
            f"{self.scheme}://{self.host}{url}",
            self.host,
            parts.path,
            parse_qsl(parts.query, keep_blank_values=True),
            [(_text(name), _text(value)) for name, value in dict(headers or {}).items()],
            _bytes(body),
        )
        if observed.error == "timeout":
            raise exceptions.ReadTimeoutError(self, url, f"Read timed out. ({observed.value[0]})")
        if observed.error:
            raise exceptions.NewConnectionError(conn, str(observed.value[0]))
        status, answered, content = observed.value
        made = response.HTTPResponse(
            body=BytesIO(content),
            headers=HTTPHeaderDict(answered),
            status=status,
            version=11,
            version_string="HTTP/1.1",
            preload_content=options.get("preload_content", True),
            decode_content=options.get("decode_content", True),
            request_method=method,
            request_url=url,
        )
        made.retries = options.get("retries")
        made._connection = options.get("response_conn")  # noqa: SLF001  (as the pool does)
        made._pool = self  # noqa: SLF001
        return made

    with replaced({(connectionpool.HTTPConnectionPool, "_make_request"): make_request}):
        yield


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    if hasattr(body, "read"):
        return _bytes(body.read())
    return b"".join(map(_bytes, body))
