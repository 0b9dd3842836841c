"""A FastAPI application that starts runs, and executes them too: `uvicorn examples.lifespan:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from troth import Troth
from troth.integrations.lifespan import troth_lifespan

troth = Troth()


@troth.step
async def greet(name: str) -> str:
    return f"hello {name}"


@troth.workflow
async def welcome(name: str) -> str:
    return await greet(name)


@asynccontextmanager
async def own(app: FastAPI) -> AsyncIterator[None]:
    await troth.start(welcome, "world", key="welcome:world")  # troth is open already
    yield


app = FastAPI(lifespan=troth_lifespan(troth, own, worker=True))


@app.post("/welcome/{name}")
async def start(name: str) -> dict[str, str]:
    run = await troth.start(welcome, name, key=f"welcome:{name}")
    return {"run": str(run.id), "said": await run.result(timeout=10)}
