"""The whole service as real processes, for tests of what only shows when all of it runs."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest_asyncio

from examples.signup.demo.stage import Stage, make_directory


@dataclass
class Service:
    """The running service, and what the test may ask of those around it."""

    stage: Stage

    @property
    def url(self) -> str:
        return self.stage.service_url

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stage.database_url) as connection:
            return connection.execute(query, params).fetchall()  # type: ignore[arg-type]

    async def fault(self, kind: str, path: str, **rule: Any) -> None:
        """Let the provider misbehave towards requests to this path."""
        match = {"method": "POST", "path": path}
        async with httpx.AsyncClient(base_url=self.stage.provider_url) as http:
            answer = await http.post("/_faults", json={"kind": kind, "match": match, **rule})
            answer.raise_for_status()

    async def behave(self) -> None:
        async with httpx.AsyncClient(base_url=self.stage.provider_url) as http:
            (await http.delete("/_faults")).raise_for_status()

    async def truth(self, kind: str) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=self.stage.provider_url) as http:
            answer = await http.get("/_truth", params={"type": kind})
            rows: list[dict[str, Any]] = answer.json()["objects"][kind]["rows"]
            return rows

    async def payments(self) -> list[dict[str, Any]]:
        """What the bank was ordered to pay."""
        async with httpx.AsyncClient(base_url=self.stage.bank_url) as http:
            return list((await http.get("/_mock/payments")).json())

    async def customers(self, email: str) -> list[dict[str, Any]]:
        """All that were ever made for this address, and not deleted."""
        rows = await self.truth("customer")
        return [one for one in rows if one["object"].get("email") == email and not one["deleted"]]

    async def charges(self, email: str) -> list[dict[str, Any]]:
        """The charges of that address which have taken money."""
        ids = {
            one["id"] for one in await self.truth("customer") if one["object"].get("email") == email
        }
        return [
            one["object"]
            for one in await self.truth("charge")
            if one["object"]["customer"] in ids and one["object"]["status"] == "succeeded"
        ]

    def accounts(self, email: str) -> int:
        """Open ones."""
        query = "SELECT count(*) FROM signup.account WHERE email = %s AND closed_at IS NULL"
        return int(self.rows(query, email)[0][0])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Service]:
    directory = make_directory()
    async with Stage(directory, lease_s=2.0, effect_timeout_s=3.0) as stage:
        await stage.start_workers(2)
        yield Service(stage)
    shutil.rmtree(directory)
