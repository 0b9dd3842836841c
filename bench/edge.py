"""What an idempotent, authorized request costs beside the bare handler on the same transaction.

    python -m bench.edge [--requests 2000] [--write]

All are called as ASGI applications in this process, in turn: one INSERT, one commit.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from troth import Access, Requests, Troth
from troth.access import Passwords, Ref, Resource
from troth.integrations.asgi import COMMAND, IdempotencyMiddleware
from troth.store.connect import pool_async
from troth.store.embedded import Embedded
from troth.store.migrate import migrate

RESULTS = Path(__file__).with_name("RESULTS.md")
MARKS = ("<!-- bench.edge -->", "<!-- end of bench.edge -->")
POLICIES = """
@id("own")
permit (principal is Bench::Person, action == Bench::Action::"Thing::make", resource is Bench::Account)
when { principal has tenant && principal.tenant == resource.tenant };
@id("frozen")
forbid (principal, action, resource is Bench::Account) when { resource.frozen };
"""
SCHEMA = """
namespace Bench {
    entity Tenant;
    entity Group;
    entity Person in [Group] = { "tenant"?: Tenant };
    entity Account = { "tenant": Tenant, "frozen": Bool };
    action "Thing::make" appliesTo { principal: [Person], resource: [Account] };
}
"""
ACCOUNT = Resource("Account", "a-1", {"tenant": Ref("Tenant", "acme"), "frozen": False})
INSERT = "INSERT INTO bench_thing (name) VALUES (%s) RETURNING id"
App = Callable[[Any, Any, Any], Awaitable[None]]


async def answer(send: Any, ident: int) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"id": ident}).encode()})


async def call(app: App, key: str) -> float:
    """One request; how long it took, in seconds."""
    body = json.dumps({"name": "ada", "email": "ada@example.com", "plan": "pro"}).encode()
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return messages.pop()

    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    headers = [(b"idempotency-key", key.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/things", "query_string": b"", "headers": headers}  # fmt: skip
    began = time.perf_counter()
    await app(scope, receive, send)
    took = time.perf_counter() - began
    assert statuses[0] == 201, statuses
    return took


async def measure(url: str, requests: int) -> dict[str, list[float]]:
    troth = Troth(url)
    part = troth.include(Requests("bench"))
    cheap = Passwords(memory_kib=64, passes=1, lanes=1)
    access = troth.include(
        Access(policies=POLICIES, schema=SCHEMA, namespace="Bench", passwords=cheap)
    )
    token = ""
    pool = pool_async(url, 1, 4)
    await pool.open()

    async def bare(_scope: Any, receive: Any, send: Any) -> None:
        name = json.loads((await receive())["body"])["name"]
        async with pool.connection() as connection, connection.transaction():
            row = await (await connection.execute(INSERT, (name,))).fetchone()
        assert row is not None
        await answer(send, row[0])

    async def covered(scope: Any, receive: Any, send: Any) -> None:
        name = json.loads((await receive())["body"])["name"]
        row = await (await scope[COMMAND].tx.execute(INSERT, (name,))).fetchone()
        await answer(send, row[0])

    async def authorized(scope: Any, receive: Any, send: Any) -> None:
        name = json.loads((await receive())["body"])["name"]
        command = scope[COMMAND]
        tx = command.tx
        principal = await access.authenticate(tx, session_token=token)
        await access.require(tx, principal, "Thing::make", ACCOUNT, at_commit=command.at_commit)
        row = await (await tx.execute(INSERT, (name,))).fetchone()
        await answer(send, row[0])

    edge = IdempotencyMiddleware(covered, requests=part, troth=troth)
    whole = IdempotencyMiddleware(authorized, requests=part, troth=troth)
    took: dict[str, list[float]] = {
        "bare": [],
        "idempotent": [],
        "replayed": [],
        "idempotent and authorized, the decision recorded": [],
    }
    try:
        async with troth.client():
            async with pool.connection() as connection:
                await connection.execute(
                    "CREATE TABLE bench_thing (id bigint GENERATED ALWAYS AS IDENTITY, name text)"
                )
                await access.people.add(
                    connection, "ada@example.com", "correct horse", tenant="acme"
                )
            begun = await access.log_in(
                pool.connection, "ada@example.com", "correct horse", client="::1"
            )
            token = begun.token
            for number in range(requests + 50):
                key = str(uuid.uuid4())
                seen = [
                    await call(bare, key),
                    await call(edge, key),
                    await call(edge, key),
                    await call(whole, str(uuid.uuid4())),
                ]
                if number >= 50:  # the first ones prepare statements
                    for name, seconds in zip(took, seen, strict=True):
                        took[name].append(seconds)
    finally:
        await pool.close()
    return took


def table(took: dict[str, list[float]]) -> str:
    """The figures in milliseconds, as Markdown."""
    lines = ["| request | p50 ms | p99 ms |", "|---|---|---|"]
    for name, seconds in took.items():
        cuts = statistics.quantiles(seconds, n=100)
        lines.append(f"| {name} | {cuts[49] * 1e3:.2f} | {cuts[98] * 1e3:.2f} |")
    return "\n".join(lines)


def written(text: str, figures: str, command: str) -> str:
    """The results with this section in its place."""
    section = f"""{MARKS[0]}
## An idempotent request

`{command}`: one INSERT, one commit, called in this process in turn, one at a time. *bare*: the same handler and transaction without
the middleware. *authorized*: a session is looked up, Cedar asked, and the decision recorded in the same transaction.

{figures}
{MARKS[1]}"""
    if MARKS[0] in text:
        return re.sub(f"{MARKS[0]}.*{MARKS[1]}", lambda _: section, text, flags=re.DOTALL)
    return f"{text.rstrip()}\n\n{section}\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="troth-bench-") as directory,
        Embedded.acquire(Path(directory)) as server,
    ):
        migrate(server.url, "troth")
        figures = table(asyncio.run(measure(server.url, options.requests)))
    print(figures)
    if options.write:
        command = f"python -m bench.edge --requests {options.requests} --write"
        RESULTS.write_text(written(RESULTS.read_text(), figures, command))


if __name__ == "__main__":
    main()
