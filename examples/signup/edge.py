"""What the API and the pages share: who asks, connections, passwords, and errors as problem+json (RFC 9457)."""

import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid5

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException as StarletteHTTPException

from examples.signup.people import NoAccountError, access
from examples.signup.settings import origin
from troth import KeyConflictError, Tx
from troth.access import (
    Denied,
    HashedPassword,
    NotAuthenticatedError,
    PasswordRefusedError,
    Principal,
    TooManyAttemptsError,
    WrongCredentialsError,
    same_origin,
)
from troth.command.request_model import Answer
from troth.integrations.problem import problem

log = logging.getLogger(__name__)

COOKIE = "__Host-session"
LOGINS = UUID("5b3c52c8-6c0c-5a52-9d2e-4d3f6b0f9a10")  # a name space for what `login_id` makes


@asynccontextmanager
async def transaction(request: Request) -> AsyncIterator[Tx]:
    """A transaction of the service's own pool."""
    async with request.app.state.pool.connection() as tx, tx.transaction():
        yield tx


def caller_of(scope: Any) -> str:
    """Who asks, for the scope of idempotency keys: a digest of what proves it; strangers are one caller.

    Other cookies prove nothing, and may change between two clicks.
    """
    request = Request(scope)
    proofs = (request.headers.get("authorization", ""), request.cookies.get(COOKIE, ""))
    if not any(proofs):
        return "anonymous"
    proof = "\0".join(proofs).encode("utf-8", "surrogateescape")
    return "known:" + hashlib.blake2b(proof, digest_size=16).hexdigest()


async def principal_of(tx: Tx, request: Request) -> Principal:
    """Who asks: by an API key (`Authorization: Bearer`), or by the cookie of a session. Raises `NotAuthenticatedError`.

    A cookie is sent by the browser whoever made it ask, so what changes something must come from our own pages.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer":
            raise NotAuthenticatedError("send an API key as `Authorization: Bearer`")
        return await access.authenticate(tx, api_key=key.strip())
    token = request.cookies.get(COOKIE)
    if not token:
        raise NotAuthenticatedError("log in first")
    require_own_page(request)
    return await access.authenticate(tx, session_token=token)


class ForeignPageError(Exception):
    """Another site made a browser ask for this."""


def require_own_page(request: Request) -> None:
    """Raise `ForeignPageError` for a request that another site makes a browser send."""
    if not same_origin(request.method, request.headers, {origin()}):
        raise ForeignPageError


def client_of(request: Request) -> str:
    """The address of whoever asks. Behind a proxy, uvicorn's --forwarded-allow-ips makes it theirs."""
    return request.client.host if request.client else "unknown"


# Passwords chosen with a signup -------------------------------------------------------------------


def login_id(key: str) -> UUID:
    """The same signup, the same login: a repeated click is no second choice."""
    return uuid5(LOGINS, key)


async def keep_password(tx: Tx, login: UUID, password: HashedPassword) -> None:
    """Keep the hash until the signup has succeeded; the first click's is kept."""
    await tx.execute(
        "INSERT INTO signup.login (id, hash) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [login, password.phc],
    )


# Errors -------------------------------------------------------------------------------------------


def respond(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))


def told(status: int, code: str, detail: str, **more: Any) -> Response:
    headers = tuple(more.pop("headers", {}).items())
    return respond(problem(status, code, detail, headers=headers, more=more))


async def invalid(_: Request, error: Exception) -> Response:
    """What does not fit; the values stay out of it, since one of them may be a password."""
    assert isinstance(error, RequestValidationError)
    wrong = [
        {"at": ".".join(str(part) for part in each["loc"]), "why": each["msg"]}
        for each in error.errors()
    ]
    return told(422, "invalid", "Some of what you sent does not fit.", errors=wrong)


async def http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    detail = str(error.detail)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return told(error.status_code, code, detail, headers=dict(error.headers or {}))


async def key_conflict(_: Request, error: Exception) -> Response:
    """The client's mistake, with what differs. The first values stay private.

    An address is no secret, so whoever sends another's is not led to what became of it.
    """
    assert isinstance(error, KeyConflictError)
    first = {} if error.key.startswith("email:") else {"operation": f"/operations/{error.run_id}"}
    return told(
        422,
        "key_reused",
        "This was asked for before with other values. Repeat the first request, or use another key.",
        differs=sorted(error.differences),
        **first,
    )


async def denied(request: Request, error: Exception) -> Response:
    """The policies say no. The act is rolled back; that it was refused is recorded by itself."""
    assert isinstance(error, Denied)
    async with transaction(request) as tx:
        await access.record(tx, error.decision)
    return told(403, "denied", "You may not do this.", decision=str(error.decision.id))


async def unavailable(_: Request, error: Exception) -> Response:
    """The database restarts, or is out of reach: for a moment, nobody can say anything."""
    log.warning("the database does not answer: %s", error)
    return told(503, "try_again", "Try again in a moment.", headers={"retry-after": "1"})


def simple(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Any:
    async def handle(_: Request, error: Exception) -> Response:
        more = dict(headers or {})
        if isinstance(error, TooManyAttemptsError):
            more["retry-after"] = str(max(1, round(error.retry_after_s)))
        said = detail or str(error)
        return told(status, code, said, headers=more)

    return handle


def install(app: FastAPI) -> None:
    """Every error of this service is answered by one of these."""
    for kind, handler in (
        (RequestValidationError, invalid),
        (StarletteHTTPException, http_error),
        (KeyConflictError, key_conflict),
        (Denied, denied),
        (OperationalError, unavailable),
        (PoolTimeout, unavailable),
        (NoAccountError, simple(404, "no_account", "There is no such account of yours.")),
        (ForeignPageError, simple(403, "foreign_page", "This must be sent from our own pages.")),
        (
            NotAuthenticatedError,
            simple(401, "not_authenticated", "", {"www-authenticate": "Bearer"}),
        ),
        (WrongCredentialsError, simple(401, "wrong_credentials", "")),
        (PasswordRefusedError, simple(422, "password_refused", "")),
        (TooManyAttemptsError, simple(429, "too_many_attempts", "")),
    ):
        app.add_exception_handler(kind, handler)
