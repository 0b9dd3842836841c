"""A shop that charges once, however often one clicks. Run it with `uvicorn examples.requests.app:app`."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from troth import Call, Provider, Refused, Requests, Troth
from troth.integrations.fastapi import (
    Command,
    IdempotencyMiddleware,
    OperationEndpoint,
    command,
    idempotent,
)

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
requests = troth.include(Requests("shop", lifetime=timedelta(days=1), failures={Refused: 402}))
bank = Provider("bank", key_lifetime=timedelta(hours=24))


class Order(BaseModel):
    article: str
    cents: int


@troth.effect(provider=bank, timeout=10)
async def charge(call: Call, cents: int) -> str:
    if cents > 100_000:
        raise Refused("the card's limit is lower")
    return f"charge-of-{cents}"


@troth.workflow
async def checkout(article: str, cents: int) -> str:
    return await charge(cents)


@requests.renders
def receipt(number: str) -> dict[str, str]:
    return {"paid_by": number}


app = FastAPI(title="Shop", lifespan=troth.lifespan)
app.add_middleware(IdempotencyMiddleware, requests=requests, troth=troth)
app.mount("/operations", OperationEndpoint(requests, troth))


@app.post("/orders")
async def order(body: Order, command: Annotated[Command, Depends(command)]) -> Any:
    # The order, the run, and later the answer: one transaction.
    await command.tx.execute("INSERT INTO orders (article) VALUES (%s)", (body.article,))
    run = await command.start(checkout, body.article, body.cents)
    return command.operation(run, wait=2.0, render=receipt)


@app.post("/questions")
@idempotent(required=False)  # without a key, each one is another question
async def ask(text: str, command: Annotated[Command, Depends(command)]) -> dict[str, str]:
    await command.tx.execute("INSERT INTO questions (text) VALUES (%s)", (text,))
    return {"answer": "we will write to you"}
