"""Reads the three truths, each from the one who knows it."""

from collections.abc import Mapping
from typing import Any

import httpx
import psycopg

from examples.signup.demo.audit import MAIL_STEP, Account, Remote, Run, Truths
from examples.signup.demo.stage import Stage

_ACCOUNTS = """
SELECT a.id::text, a.email,
       (SELECT count(*) FROM signup.workspace w WHERE w.account = a.id),
       (SELECT count(*) FROM signup.role r WHERE r.account = a.id),
       (SELECT count(*) FROM signup.quota q JOIN signup.workspace w ON w.id = q.workspace
        WHERE w.account = a.id),
       a.customer_id, a.subscription_id, a.closed_at IS NOT NULL
FROM signup.account a ORDER BY a.email
"""

_RUNS = """
WITH every AS (
    SELECT id, input, state, reason, detail FROM troth.run WHERE workflow = 'signup'
    UNION ALL SELECT id, input, state, NULL, NULL FROM troth.run_history WHERE workflow = 'signup')
SELECT id::text, convert_from(input, 'UTF8')::json ->> 'email', state::text, reason,
       convert_from(detail, 'UTF8')::json ->> 'at',
       EXISTS (SELECT 1 FROM troth.journal j
               WHERE j.run_id = every.id AND j.path = %s AND j.kind = 2 AND j.ok)
FROM every ORDER BY id
"""

_STATES = """
SELECT state::text, count(*) FROM (
    SELECT state FROM troth.run UNION ALL SELECT state FROM troth.run_history) AS every
GROUP BY state
"""


async def read(stage: Stage, wanted: Mapping[str, str]) -> Truths:
    """What everybody has, now. *wanted*: how the subscription of each address should stand."""
    async with await psycopg.AsyncConnection.connect(stage.database_url) as database:
        accounts = await (await database.execute(_ACCOUNTS)).fetchall()
        runs = await (await database.execute(_RUNS, [MAIL_STEP])).fetchall()
    async with httpx.AsyncClient(timeout=30) as http:
        customers = await objects(http, stage.provider_url, "customer")
        subscriptions = await objects(http, stage.provider_url, "subscription")
        answer = await http.get(f"{stage.mailbox_url}/messages")
        messages = answer.raise_for_status().json()
    standing = {ident: wanted.get(email) for ident, email, *_ in accounts}
    return Truths(
        accounts=[Account(*row) for row in accounts],
        runs=[Run(*row) for row in runs],
        customers=[
            Remote(row["id"], row["metadata"].get("account"), good=not row["deleted"])
            for row in customers
        ],
        subscriptions=[
            Remote(
                row["id"], row["metadata"].get("account"), good=is_right(row, customers, standing)
            )
            for row in subscriptions
        ],
        mails=[
            address
            for message in messages
            if message["subject"].startswith("Welcome")
            for address in message["to"]
        ],
    )


async def objects(http: httpx.AsyncClient, url: str, kind: str) -> list[dict[str, Any]]:
    """Every object of a type that the provider has ever made."""
    answer = await http.get(f"{url}/_truth", params={"type": kind})
    rows: list[dict[str, Any]] = answer.raise_for_status().json()["objects"][kind]["rows"]
    return rows


def is_right(
    row: dict[str, Any], customers: list[dict[str, Any]], standing: Mapping[str, str | None]
) -> bool:
    """A subscription that stands as it should, of the customer of the same account."""
    owner = next((one for one in customers if one["id"] == row["object"]["customer"]), None)
    return (
        row["object"]["status"] == standing.get(row["metadata"].get("account"))
        and owner is not None
        and owner["metadata"].get("account") == row["metadata"].get("account")
    )


async def states(database_url: str) -> dict[str, int]:
    """How many runs are in which state. Raises `psycopg.OperationalError` while nobody answers."""
    async with await psycopg.AsyncConnection.connect(database_url, connect_timeout=2) as database:
        return dict(await (await database.execute(_STATES)).fetchall())
