"""Who sits at the console. Three doors; a console has exactly one.

* `Host`: the application that mounts the console knows its users, and says who asks (`identify=`).
* `People`: the people of `troth.access`, with address and password; their groups say what they may.
* `Links`: whoever started the console on this machine has a link with a token, which works once.
"""

from __future__ import annotations

import hashlib
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from starlette.requests import Request

from troth.command.acts import Role
from troth.console.database import Reach
from troth.console.model import NotSignedInError, Operator

if TYPE_CHECKING:
    from troth.access import Access, Principal

COOKIE = "troth_console"
SESSION_S = 12 * 3600
Identify: TypeAlias = Callable[[Request], Operator | Awaitable[Operator | None] | None]

# What members of a group may, unless the program says otherwise.
GROUPS: Mapping[str, Role] = {
    "troth-viewer": Role.VIEWER,
    "troth-operator": Role.OPERATOR,
    "troth-admin": Role.ADMIN,
}


@dataclass(frozen=True, slots=True)
class Entered:
    """Somebody has signed in: the value of their cookie, and how many seconds it is good for."""

    cookie: str
    seconds: int


class Door(Protocol):
    """How it is found out who asks."""

    @property
    def form(self) -> str | None:
        """The template of the page for those whom nobody knows; None: there is nothing that they could do here."""

    async def who(self, request: Request, reach: Reach, /) -> Operator:
        """Raises `NotSignedInError`."""

    async def enter(self, request: Request, reach: Reach, given: Mapping[str, str], /) -> Entered:
        """Sign in with what was given. Raises `NotSignedInError`, which says why not."""

    async def leave(self, request: Request, reach: Reach, /) -> None:
        """Sign out."""


class Host:
    """The application around the console says who asks: a function of the request, `async` or not. None: nobody."""

    form: str | None = None

    def __init__(self, identify: Identify) -> None:
        self._identify = identify

    async def who(self, request: Request, _reach: Reach, /) -> Operator:
        found = self._identify(request)
        operator = await found if inspect.isawaitable(found) else found
        if operator is None:
            raise NotSignedInError(
                "the application that this console is a part of does not know you: sign in there"
            )
        return operator

    async def enter(
        self, _request: Request, _reach: Reach, _given: Mapping[str, str], /
    ) -> Entered:
        raise NotSignedInError("sign in at the application that this console is a part of")

    async def leave(self, _request: Request, _reach: Reach, /) -> None:
        raise NotSignedInError("sign out at the application that this console is a part of")


class Links:
    """Links with a token that works once, for consoles on this machine; who has one is *operator*.

    *used* is called when a link was used, so that the next one can be told.
    """

    form: str | None = "sign_in_link.html"

    def __init__(self, operator: Operator, used: Callable[[], None] | None = None) -> None:
        self._operator = operator
        self._used = used
        self._tokens: set[bytes] = set()
        self._sessions: dict[bytes, float] = {}

    def token(self) -> str:
        """A new token, for `…/sign-in?token=`. Those before it stay good."""
        made = secrets.token_urlsafe(32)
        self._tokens.add(_hash(made))
        return made

    async def who(self, request: Request, _reach: Reach, /) -> Operator:
        ends = self._sessions.get(_hash(request.cookies.get(COOKIE, "")), 0.0)
        if ends <= time.monotonic():
            raise NotSignedInError("this console is opened by a link: see where it was started")
        return self._operator

    async def enter(self, _request: Request, _reach: Reach, given: Mapping[str, str], /) -> Entered:
        token = _hash(given.get("token", ""))
        if token not in self._tokens:
            raise NotSignedInError(
                "this link was used already, or is of a console that has ended: take the latest one"
            )
        self._tokens.remove(token)
        now = time.monotonic()
        self._sessions = {each: ends for each, ends in self._sessions.items() if ends > now}
        session = secrets.token_urlsafe(32)
        self._sessions[_hash(session)] = now + SESSION_S
        if self._used is not None:
            self._used()
        return Entered(session, SESSION_S)

    async def leave(self, request: Request, _reach: Reach, /) -> None:
        self._sessions.pop(_hash(request.cookies.get(COOKIE, "")), None)


class People:
    """The people of a program's `Access`. *roles*: what members of a group may; the most of it counts."""

    form: str | None = "sign_in_people.html"

    def __init__(self, access: Access, roles: Mapping[str, Role] = GROUPS) -> None:
        self._access = access
        self._roles = roles

    async def who(self, request: Request, reach: Reach, /) -> Operator:
        from troth.access import NotAuthenticatedError

        token = request.cookies.get(COOKIE)
        if not token:
            raise NotSignedInError("sign in with your address and password")
        async with reach.connection() as tx:
            try:
                principal = await self._access.authenticate(tx, session_token=token)
            except NotAuthenticatedError:
                raise NotSignedInError("your session has ended: sign in again") from None
            name = await self._access.people.address(tx, principal.id)
        role = self._role(principal)
        if role is None:
            groups = ", ".join(self._roles)
            raise NotSignedInError(
                f"{name} may not see this console: it is for members of {groups}"
            )
        return Operator(name or principal.id, role)

    async def enter(self, request: Request, reach: Reach, given: Mapping[str, str], /) -> Entered:
        from troth.access import TooManyAttemptsError, WrongCredentialsError

        client = request.client.host if request.client else "unknown"
        try:
            entered = await self._access.log_in(
                reach.connection,
                given.get("email", ""),
                given.get("password", ""),
                client=client,
                replaces=request.cookies.get(COOKIE),
            )
        except (WrongCredentialsError, TooManyAttemptsError) as error:
            raise NotSignedInError(str(error)) from None
        if self._role(entered.principal) is None:
            groups = ", ".join(self._roles)
            async with reach.connection() as tx:
                await self._access.sessions.end(tx, entered.token)
            raise NotSignedInError(
                f"you are known, and may not see this console: it is for members of {groups}"
            )
        return Entered(entered.token, max(0, int(entered.expires_at - time.time())))

    async def leave(self, request: Request, reach: Reach, /) -> None:
        token = request.cookies.get(COOKIE)
        if token:
            async with reach.connection() as tx:
                await self._access.sessions.end(tx, token)

    def _role(self, principal: Principal) -> Role | None:
        held = [self._roles[group] for group in principal.groups if group in self._roles]
        return max(held, default=None)


def _hash(secret: str) -> bytes:
    """Kept instead of the secret, so that a look-up takes the same time whatever was guessed."""
    return hashlib.sha256(secret.encode()).digest()
