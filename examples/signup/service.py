"""The signup over HTTP: API, pages, and where the billing provider's events come in.

Run it with `uvicorn examples.signup.service:app`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from examples.signup import edge
from examples.signup.api import api, requests
from examples.signup.program import troth
from examples.signup.settings import database_url
from examples.signup.subscription import stripe_events
from examples.signup.web.pages import pages
from troth.integrations.asgi_inbox import InboxEndpoint
from troth.integrations.fastapi import IdempotencyMiddleware, OperationEndpoint

STATIC = Path(__file__).parent / "web" / "static"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    pool = AsyncConnectionPool(
        database_url(), min_size=1, max_size=8, timeout=5, open=False, kwargs={"autocommit": True}
    )
    async with troth.lifespan(app), pool:
        app.state.pool = pool
        yield


app = FastAPI(title="Signup", lifespan=lifespan)
edge.install(app)
app.include_router(api)
app.include_router(pages)
app.mount("/operations", OperationEndpoint(requests, troth, caller=edge.caller_of))
# A route, not a mount: a mount answers this very path with a redirect, which no provider follows.
app.router.routes.append(Route("/webhooks/stripe", InboxEndpoint(stripe_events, troth)))
app.mount("/static", StaticFiles(directory=STATIC))
app.add_middleware(IdempotencyMiddleware, requests=requests, troth=troth, caller=edge.caller_of)
