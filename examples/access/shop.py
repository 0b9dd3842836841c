"""Ada changes her plan, a stranger may not, a machine only reads; and each answer is on record."""

import asyncio
import os
from pathlib import Path

import psycopg
from psycopg_pool import AsyncConnectionPool

from troth import Troth
from troth.access import Access, Denied, NotAuthenticatedError, Ref, Resource, WrongCredentialsError

HERE = Path(__file__).parent
troth = Troth()
access = troth.include(
    Access(
        policies=HERE / "policies.cedar",  # a wrong policy stops the program here, with its line
        schema=HERE / "schema.cedarschema",
        namespace="Shop",
    )
)


def account(owner: str, *, frozen: bool = False) -> Resource:
    attributes = {"tenant": Ref("Tenant", "acme"), "owner": Ref("Person", owner), "frozen": frozen}
    return Resource("Account", "a-1", attributes)


async def change_plan(pool: AsyncConnectionPool, token: str, shown: Resource, seats: int) -> str:
    try:
        async with access.recording_denials(pool.connection), pool.connection() as tx:
            who = await access.authenticate(tx, session_token=token)
            await access.require(tx, who, "Plan::change", shown, {"seats": seats})
            return f"changed to {seats} seats"  # the change and the decision commit together
    except Denied as denied:
        return f"denied: {denied.decision.because} {' '.join(denied.decision.policies)}".strip()


async def main() -> None:
    database: AsyncConnectionPool = AsyncConnectionPool(
        os.environ["TROTH_DATABASE_URL"], open=False
    )
    async with database as pool:
        async with pool.connection() as tx:
            ada = await access.people.add(tx, "ada@example.com", "correct horse", tenant="acme")
            key = await access.keys.create(
                tx, "nightly export", scopes=["Account::read"], tenant="acme"
            )
        try:
            await access.log_in(pool.connection, "ada@example.com", "a guess", client="10.0.0.1")
        except WrongCredentialsError as wrong:
            print(wrong)
        session = await access.log_in(
            pool.connection, "ada@example.com", "correct horse", client="10.0.0.1"
        )
        print(await change_plan(pool, session.token, account(ada.id), 20))
        print(await change_plan(pool, session.token, account(ada.id), 500))
        print(await change_plan(pool, session.token, account(ada.id, frozen=True), 20))
        async with pool.connection() as tx:
            machine = await access.authenticate(tx, api_key=key.key)
            for action, context in (("Account::read", {}), ("Plan::change", {"seats": 1})):
                decision = await access.decide(tx, machine, action, account(ada.id), context)
                print(f"machine, {action}: {decision.because}")
            await access.people.disable(tx, ada.id)
        try:
            await change_plan(pool, session.token, account(ada.id), 20)
        except NotAuthenticatedError as gone:
            print(gone)
        async with await psycopg.AsyncConnection.connect(os.environ["TROTH_DATABASE_URL"]) as tx:
            rows = await tx.execute("SELECT count(*) FROM troth.decision")
            print(await rows.fetchone(), "decisions on record")


if __name__ == "__main__":
    asyncio.run(main())
