"""The same on troth: one run under one key; what may have happened is known or found out before it is done again."""

from __future__ import annotations

import smtplib
from datetime import timedelta
from email.message import EmailMessage

import httpx

from examples.naive_signup.common import PRICE
from troth import Call, Provider, Retry, Troth, Tx

SCHEMA = """
CREATE TABLE users (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE NOT NULL, customer text);
CREATE TABLE payments (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "user" integer UNIQUE NOT NULL, charge text NOT NULL);
"""
LANDS_WITHIN = timedelta(minutes=2)
TWICE = Retry(attempts=2)
"""Two attempts, so that the lab's graph is small. What a third would lead to, the second does."""

troth = Troth()
stripe = Provider("stripe", key_lifetime=timedelta(hours=24), lands_within=LANDS_WITHIN)


async def post(path: str, fields: dict[str, str], key: str) -> str:
    headers = {"Authorization": "Bearer sk_test", "Idempotency-Key": key}
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"https://api.stripe.com/v1/{path}", data=fields, headers=headers
        )
    answer.raise_for_status()
    return str(answer.json()["id"])


@troth.effect(provider=stripe, timeout=10, retry=TWICE, stands=True)
async def create_customer(call: Call, email: str) -> str:
    return await post("customers", {"email": email}, call.key)


@troth.effect(provider=stripe, timeout=10, retry=TWICE, stands=True)
async def charge(call: Call, customer: str) -> str:
    fields = {"customer": customer, "amount": PRICE, "currency": "eur"}
    return await post("charges", fields, call.key)


@troth.transaction
async def record(tx: Tx, email: str, customer: str, charged: str) -> None:
    made = await tx.execute(
        "INSERT INTO users (email, customer) VALUES (%s, %s) RETURNING id", [email, customer]
    )
    row = await made.fetchone()
    assert row is not None
    await tx.execute('INSERT INTO payments ("user", charge) VALUES (%s, %s)', [row[0], charged])


@troth.effect(delivery="at_least_once", timeout=10, retry=TWICE, stands=True)
def say_welcome(call: Call, email: str) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Welcome!", "hello@example.com", email
    message.set_content("Your account is ready.")
    with smtplib.SMTP("smtp.example.com") as server:
        server.send_message(message)


@troth.workflow
async def signup(email: str) -> None:
    customer = await create_customer(email)
    charged = await charge(customer)
    await record(email, customer, charged)
    await say_welcome(email)
