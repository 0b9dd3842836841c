"""A FastAPI application with the console under /ops: `uvicorn examples.console:app`, then open /sign-in?name=ada."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.requests import Request

from troth import Troth
from troth.console import Console, Operator, Payload, Role
from troth.integrations.lifespan import troth_lifespan

troth = Troth()

# Your application knows who its people are and what they may; here it is a dictionary.
STAFF = {"ada": Role.ADMIN, "grace": Role.OPERATOR, "eve": Role.VIEWER}
SESSIONS: dict[str, str] = {}


@troth.step
async def charge(card: str, cents: int) -> str:
    return f"charged {cents} cents"


@troth.workflow
async def order(card: str, cents: int) -> str:
    return await charge(card, cents)


def identify(request: Request) -> Operator | None:
    """Whoever has signed in to this application, as a person at the console."""
    name = SESSIONS.get(request.cookies.get("session", ""))
    return Operator(name, STAFF[name]) if name in STAFF else None


def redact(payload: Payload) -> Any:
    """Nobody needs to see a card's number, whoever asks."""
    if isinstance(payload.value, dict) and "card" in payload.value:
        return {**payload.value, "card": "•••• " + payload.value["card"][-4:]}
    return payload.value


console = Console(troth, identify=identify, redact=redact)


@asynccontextmanager
async def own(app: FastAPI) -> AsyncIterator[None]:
    async with console.open():
        yield


app = FastAPI(lifespan=troth_lifespan(troth, own, worker=True))
app.mount("/ops", console)


@app.get("/sign-in")
async def sign_in(name: str) -> RedirectResponse:
    """A real application asks for a password."""
    SESSIONS[f"session-of-{name}"] = name
    answer = RedirectResponse("/ops/", 303)
    answer.set_cookie("session", f"session-of-{name}", httponly=True, samesite="lax")
    return answer


@app.post("/orders/{key}")
async def place(key: str, card: str, cents: int) -> dict[str, str]:
    run = await troth.start(order, card, cents, key=key)
    return {"run": str(run.id), "said": await run.result(timeout=10)}
