"""A console over a cell, and people in front of it: requests go through the whole application, without a network."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import psycopg
import pytest
import pytest_asyncio

from tests.cli import program
from tests.cli.conftest import cell, runs
from troth.console import Console, Operator, Role

__all__ = ["Person", "cell", "runs"]

ORIGIN = "http://console.test"
_FORM = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Person:
    """Somebody with a browser that has no JavaScript: they follow links and send forms."""

    def __init__(self, console: Console, name: str, role: Role, root: str = "") -> None:
        self.name = name
        self.role = role
        self.root = root
        transport = httpx2.ASGITransport(app=console)
        headers = {"x-test-name": name, "x-test-role": role.name}
        self.http = httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.http.get(self.root + path, **more)

    async def text(self, path: str) -> str:
        """A page that must be there."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def token(self) -> str:
        """What the forms of this person carry."""
        found = _FORM.search((await self.get("/act/run.send?run=" + "0" * 32)).text)
        found = found or _FORM.search((await self.get("/act/run.cancel?run=" + "0" * 32)).text)
        assert found
        return found[1]

    async def post(self, path: str, form: dict[str, str], **headers: str) -> httpx2.Response:
        """Send a form of a page of the console, as a browser would."""
        sent = {"form_token": await self.token(), **form}
        own = {"origin": ORIGIN, "sec-fetch-site": "same-origin", **headers}
        return await self.http.post(self.root + path, data=sent, headers=own)

    async def act(self, name: str, **form: str) -> httpx2.Response:
        return await self.post(f"/act/{name}", form)


Meet = Callable[..., Person]


@pytest_asyncio.fixture
async def meet(cell: tuple[str, str]) -> AsyncIterator[Meet]:
    """Make somebody who sits at the console: `meet("ada", Role.OPERATOR)`; more arguments are the console's."""
    async with AsyncExitStack() as stack:

        async def leave(person: Person) -> None:
            await person.http.aclose()

        def make(
            name: str = "ada",
            role: Role = Role.OPERATOR,
            root: str = "",
            app: Any = None,
            **more: Any,
        ) -> Person:
            console = app or Console(program.troth, identify=by_header, **more)
            if app is None:
                stack.push_async_callback(console._site.reach.close)
                stack.push_async_callback(console._watcher.close)
            person = Person(console, name, role, root)
            stack.push_async_callback(leave, person)
            return person

        yield make


def by_header(request: Any) -> Operator | None:
    """The host application of these tests: it believes a header."""
    name = request.headers.get("x-test-name")
    return Operator(name, Role[request.headers["x-test-role"]]) if name else None


def words(page: str) -> str:
    """What a person reads of a page."""
    body = re.sub(r"<(script|style|head)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def rows(cell: tuple[str, str], query: str, *params: Any) -> list[tuple[Any, ...]]:
    """What is in the database; `{}` is the schema."""
    url, schema = cell
    with psycopg.connect(url) as connection:
        return connection.execute(query.format(schema), params).fetchall()


@pytest.fixture
def acts(cell: tuple[str, str]) -> Callable[[], list[tuple[Any, ...]]]:
    """What people did: (by, role, via, act, about, outcome, note)."""
    return lambda: rows(
        cell, "SELECT by, role, via, act, about, outcome, note FROM {}.operator_act ORDER BY id"
    )
