"""The signup over HTTP. Run it with `uvicorn examples.signup.service:app`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal
from uuid import UUID

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from psycopg import OperationalError
from psycopg_pool import AsyncConnectionPool
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from examples.signup.progress import Progress, progress_of
from examples.signup.settings import database_url
from examples.signup.workflow import signup, troth
from troth import KeyConflictError

log = logging.getLogger(__name__)

ADDRESS = r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f]+$"


def printable(text: str) -> str:
    """The name goes into the subject of a mail, where a line break would begin another header."""
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=254, pattern=ADDRESS),
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(printable),
]
Card = Annotated[str, Field(max_length=100, pattern=r"^pm_\w+$")]
Key = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class SignupRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: Email
    name: Name
    plan: Literal["starter", "pro"]
    card: Card = "pm_card_visa"


class Accepted(BaseModel):
    """Where to look; `id` names the signup."""

    id: UUID
    url: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    pool = AsyncConnectionPool(database_url(), min_size=1, max_size=4, timeout=5, open=False)
    async with troth.lifespan(app), pool:
        app.state.pool = pool
        yield


app = FastAPI(title="Signup", lifespan=lifespan)


@app.post("/v1/signups", status_code=202)
async def start(
    request: SignupRequest, idempotency_key: Annotated[Key | None, Header()] = None
) -> Accepted:
    """Start a signup; the same key, or without one the same address, is the same signup."""
    key = f"key:{idempotency_key}" if idempotency_key else f"email:{request.email}"
    person = (request.email, request.name, request.plan, request.card)
    run = await troth.start(signup, *person, key=key)
    return Accepted(id=run.id, url=f"/v1/signups/{run.id}")


@app.get("/v1/signups/{signup_id}")
async def show(signup_id: UUID, request: Request) -> Progress:
    """How far it has come. 404 if there is no such signup."""
    async with request.app.state.pool.connection() as tx:
        found = await progress_of(tx, signup_id)
    if found is None:
        raise HTTPException(404, f"there is no signup {signup_id}")
    return found


@app.exception_handler(KeyConflictError)
async def key_conflict(_: Request, error: Exception) -> JSONResponse:
    """RFC 9457: the client's mistake, with what differs. The first values stay private."""
    assert isinstance(error, KeyConflictError)
    problem = {
        "type": "about:blank",
        "title": "This key was used with another input",
        "status": 422,
        "detail": "Repeat the first request as it was, or use another Idempotency-Key.",
        "signup": f"/v1/signups/{error.run_id}",
        "differs": sorted(error.differences),
    }
    return JSONResponse(problem, 422, media_type="application/problem+json")


@app.exception_handler(OperationalError)
async def database_away(_: Request, error: Exception) -> JSONResponse:
    """The database restarts, or is out of reach: for a moment, nobody can say anything."""
    log.warning("the database does not answer: %s", error)
    problem = {"type": "about:blank", "title": "Try again in a moment", "status": 503}
    return JSONResponse(problem, 503, {"retry-after": "1"}, "application/problem+json")
