"""`Console`: an ASGI application to serve by itself, or to mount anywhere in another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from troth.app import Troth
from troth.base.errors import UsageError
from troth.command.acts import Role
from troth.console.app import build
from troth.console.database import Reach
from troth.console.live import Watcher
from troth.console.model import Payload
from troth.console.screens import SCREENS
from troth.console.sign_in import GROUPS, Door, Host, Identify, Links, People
from troth.console.site import site

if TYPE_CHECKING:
    from troth.access import Access

QUESTION_S = 5.0


class Console:
    """The console of *troth*'s database, as an ASGI application.

    Who may use it is said by exactly one of three: *identify(request)* (of the application around it, `async` or not)
    gives an `Operator`, or None for those who may not; *people*, the program's `Access`, with *roles* for the groups of
    people (without it: `troth-viewer`, `troth-operator`, `troth-admin`); or *links* that work once.

    *base_path*: under what browsers see the console, if the server does not say so itself (as a mount does, or
    `uvicorn --root-path`). *redact(payload)* gives back what is to be shown of a `Payload`. *origins*: what browsers call
    the console where a proxy changes `Host`, as `https://ops.example.com`. *question_s*: how long one question may take, in
    seconds. Raises `UsageError`.
    """

    def __init__(
        self,
        troth: Troth,
        *,
        identify: Identify | None = None,
        people: Access | None = None,
        roles: Mapping[str, Role] | None = None,
        links: Links | None = None,
        base_path: str | None = None,
        redact: Callable[[Payload], Any] | None = None,
        origins: Collection[str] = (),
        question_s: float = QUESTION_S,
    ) -> None:
        reach = Reach(troth, question_s)
        self._watcher = Watcher(reach)
        self._site = site(
            reach,
            _door(identify, people, roles, links),
            SCREENS,
            base_path=base_path,
            origins=origins,
            redact=redact,
        )
        self._app = build(self._site, self._watcher)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        base = self._site.base_path
        if base and scope["type"] == "http":
            # A proxy may have taken the prefix off the path, or left it there.
            path = scope["path"]
            inside = path == base or path.startswith(f"{base}/")
            scope = {**scope, "root_path": base, "path": path if inside else base + path}
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connections open at once and closed at the end: for the lifespan of the application around it.

        Without it they are opened by the first request, and closed when the process ends. Raises `StoreError`, and
        `OutOfReachError` if the database is not there.
        """
        await self._site.reach.open()
        try:
            yield
        finally:
            await self._watcher.close()
            await self._site.reach.close()


def _door(
    identify: Identify | None,
    people: Access | None,
    roles: Mapping[str, Role] | None,
    links: Links | None,
) -> Door:
    given = [each for each in (identify, people, links) if each is not None]
    if len(given) != 1:
        msg = "say who may use the console, in one way: identify=, people= or links="
        raise UsageError(msg)
    if roles is not None and people is None:
        raise UsageError("roles= are for the groups of people=")
    if identify is not None:
        return Host(identify)
    if people is not None:
        return People(people, GROUPS if roles is None else roles)
    assert links is not None
    return links
