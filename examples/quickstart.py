"""A signup that survives kill -9: run it, kill it while it sleeps, run it again."""

import asyncio
from datetime import timedelta

from troth import Call, Troth, Tx

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/


@troth.transaction  # commits together with its journal entry: exactly once
async def create_account(tx: Tx, email: str) -> str:
    await tx.execute("CREATE TABLE IF NOT EXISTS account (email text PRIMARY KEY)")
    await tx.execute("INSERT INTO account VALUES (%s)", [email])
    print(f"{email} has an account", flush=True)
    return email


@troth.effect(delivery="at_most_once", timeout=30)  # mail cannot be asked whether it went out
async def send_welcome(call: Call, email: str) -> None:
    print(f"to {email}: welcome (message {call.key})", flush=True)


@troth.workflow
async def signup(email: str) -> str:
    account = await create_account(email)
    await troth.sleep(timedelta(seconds=3))  # durable: it ends on time, whoever dies meanwhile
    await send_welcome(account)
    return account


async def main() -> None:
    async with troth.worker():  # a service only starts runs: troth.client()
        run = await troth.start(signup, "ada@example.com", key="signup:ada@example.com")
        print(await run.result(timeout=60))  # the same key is the same run, however often


if __name__ == "__main__":
    asyncio.run(main())
