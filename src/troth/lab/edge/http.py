"""httpx, sync and async: below redirects and retries, above the connection pool."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from troth.lab.edge import tasks
from troth.lab.edge.attempt import attributed
from troth.lab.edge.exchange import ask
from troth.lab.edge.patch import replaced

if TYPE_CHECKING:
    import httpx


@contextmanager
def caught(hosts: dict[str, str]) -> Iterator[None]:
    """Httpx's own transports ask the lab while the context lasts. Nothing is imported if the application has no httpx."""
    if "httpx" not in sys.modules:
        yield
        return
    import httpx
    from httpx._transports import default

    def handle(self: object, request: httpx.Request) -> httpx.Response:
        del self
        request.read()
        return _ask(hosts, request)

    async def handle_async(self: object, request: httpx.Request) -> httpx.Response:
        del self
        await request.aread()
        await tasks.settle(attributed(f"{request.method} {request.url}"))
        return _ask(hosts, request)

    with ExitStack() as stack:
        stack.enter_context(replaced({
            (httpx.HTTPTransport, "handle_request"): handle,
            (httpx.AsyncHTTPTransport, "handle_async_request"): handle_async,
            # reading the certificates takes 25 ms and would be most of a run
            (default, "create_ssl_context"): _shared_context(httpx.create_ssl_context),
        }))  # fmt: skip
        yield


def _shared_context(create: Any) -> Any:
    @lru_cache
    def one() -> object:
        return create()

    return lambda **_: one()


def _ask(hosts: dict[str, str], request: httpx.Request) -> httpx.Response:
    import httpx

    url = request.url
    observed = ask(
        hosts,
        request.method,
        str(url),
        url.host,
        url.path,
        url.params.multi_items(),
        request.headers.items(),
        request.content,
    )
    if observed.error:
        _fail(observed.error, str(observed.value[0]), request)
    status, answered, body = observed.value
    return httpx.Response(status, headers=list(answered), content=body, request=request)


def _fail(error: str, message: str, request: httpx.Request) -> NoReturn:
    import httpx

    errors = {"timeout": httpx.ReadTimeout, "unreachable": httpx.ConnectError}
    raise errors[error](message, request=request)
