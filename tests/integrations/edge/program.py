"""A server of its own: `python -m tests.integrations.edge.program`. With DIE=1 it is killed between commit and answer."""

from __future__ import annotations

import os
import signal
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from troth import Troth
from troth.command import request_store
from troth.command.perform import Requests
from troth.integrations.asgi import COMMAND, IdempotencyMiddleware

SCHEMA = os.environ.get("SHOP_SCHEMA", "shop")
troth = Troth(schema=SCHEMA)
requests = troth.include(Requests("shop"))


async def things(request: Request) -> JSONResponse:
    insert: Any = f"INSERT INTO {SCHEMA}.thing (name) VALUES (%s) RETURNING id"
    rows = await request.scope[COMMAND].tx.execute(insert, ((await request.json())["name"],))
    return JSONResponse({"id": (await rows.fetchone())[0]}, 201)


app = Starlette(routes=[Route("/things", things, methods=["POST"])], lifespan=troth.lifespan)
app.add_middleware(IdempotencyMiddleware, requests=requests, troth=troth)


def main() -> None:
    if os.environ.get("DIE"):
        commit = request_store.commit

        async def commit_and_die(*args: Any) -> bool:
            await commit(*args)
            os.kill(os.getpid(), signal.SIGKILL)
            return True

        request_store.commit = commit_and_die
    uvicorn.run(app, uds=os.environ["SHOP_SOCKET"], log_level="warning")


if __name__ == "__main__":
    main()
