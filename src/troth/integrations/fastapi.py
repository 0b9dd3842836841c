"""Idempotent requests for FastAPI and Starlette: the ASGI middleware, and the command as a dependency.

app.add_middleware(IdempotencyMiddleware, requests=requests, troth=troth)

@app.post("/v1/accounts")
async def create(body: New, command: Annotated[Command, Depends(command)]) -> Account: ...
"""

from __future__ import annotations

from fastapi import Request, Response

from troth.base.errors import UsageError
from troth.integrations.asgi import (
    COMMAND,
    Command,
    IdempotencyMiddleware,
    OperationEndpoint,
    idempotent,
)

__all__ = ["Command", "IdempotencyMiddleware", "OperationEndpoint", "command", "idempotent"]


async def command(request: Request) -> Command:
    """The command of this request, as a dependency. Raises `UsageError` where there is none."""
    found: Command | None = request.scope.get(COMMAND)
    if found is None:
        msg = (
            f"{request.method} {request.url.path} has no command: add IdempotencyMiddleware to the application, and use it in "
            "handlers that change something (not GET, and not exempt)"
        )
        raise UsageError(msg)
    found.held = _held
    return found


def _held() -> Response:
    """A response is sent as it is, and not put through the handler's response model."""
    return Response(status_code=202)
