"""What the applications of all frameworks do: one plan, so that they differ in nothing but the framework."""

from __future__ import annotations

import json
from typing import Any

from troth import Troth
from troth.base.errors import KeyConflictError
from troth.command.perform import Requests
from troth.store.plan import Plan, Statement

BIG = 3_000
LOCK = 77  # an advisory lock on which a handler waits if it is told to


class SoldOut(Exception):
    pass


class Shop:
    """A program with its requests and its workflow."""

    def __init__(self, url: str, schema: str, **options: Any) -> None:
        self.troth = Troth(url, schema=schema)
        self.requests = self.troth.include(
            Requests(
                "shop", max_body=2_000, max_response=BIG - 1, failures={SoldOut: 410}, **options
            )
        )

        @self.troth.step(fails_on=SoldOut)
        async def buy(name: str) -> str:
            if name == "none":
                raise SoldOut("there is none left")
            return name

        @self.troth.workflow
        async def order(name: str) -> str:
            return await buy(await self.troth.receive("go", str) if name == "later" else name)

        self.order = order
        self.wait = 0.0

        @self.requests.renders
        def receipt(result: Any) -> dict[str, Any]:
            return {"bought": result}

        self.receipt = receipt

    def work(self, command: Any, body: dict[str, Any]) -> Plan[tuple[int, dict[str, Any]]]:  # noqa: C901, PLR0911
        """Insert a row, and answer as the request wants it."""
        do = body.get("do", "ok")
        if do == "reject":
            return 400, {"no": "before anything was done"}
        insert: Any = f"INSERT INTO {self.troth.schema}.thing (name) VALUES (%s) RETURNING id"
        rows = yield Statement(insert, (body["name"],))
        if body.get("last"):
            command.at_commit(Statement(insert, (body["last"],)))
        answer = {"id": rows[0][0], "principal": command.principal, "key": command.key}
        match do:
            case "wait":
                yield Statement("SELECT pg_advisory_xact_lock(77)")
            case "refuse":
                return 409, answer
            case "keep":
                command.keep()
                return 403, answer
            case "unauthorized":
                return 401, answer
            case "busy":
                return 429, answer
            case "unavailable":
                return 503, answer
            case "crash":
                raise RuntimeError("a bug")
            case "big":
                return 201, answer | {"text": "x" * BIG}
            case "commit":
                yield Statement("COMMIT", returns=False)
        return 201, answer


def conflict(error: KeyConflictError) -> dict[str, Any]:
    """How the applications answer a start key that is another run's."""
    return {"run": str(error.run_id), "differs": sorted(error.differences)}


class Reply:
    """An answer, the same for all clients."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.headers = [(name.lower(), value) for name, value in headers]
        self.body = body

    def __getitem__(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def code(self) -> str:
        assert self["content-type"] == "application/problem+json", self.body
        return str(json.loads(self.body)["code"])

    @property
    def replayed(self) -> bool:
        return self["idempotent-replayed"] == "true"

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:200]!r}"
