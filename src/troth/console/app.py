"""The console as an ASGI application: routes, and what becomes of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from troth.base.errors import TrothError
from troth.console import acting, jumping, live
from troth.console.model import NotSignedInError, Operator
from troth.console.page import Page
from troth.console.security import HEADERS, Headers, read_form, require_own_origin, require_token
from troth.console.sign_in import COOKIE
from troth.console.site import Site, Visit
from troth.console.trouble import Trouble, trouble_of

# What a POST does, once it is known that the form is one of ours.
Deed = Callable[[Site, Visit, dict[str, str]], Awaitable[Response]]


class Files(StaticFiles):
    """Our files; their addresses change with their content, so they may be kept for ever."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "public, max-age=31536000, immutable"
        return answer


def build(site: Site, watcher: live.Watcher) -> Starlette:
    """The application of one site."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await watcher.close()
            await site.reach.close()

    def shown(page: Page[Any]) -> Callable[[Request], Awaitable[Response]]:
        async def show(request: Request) -> Response:
            return await page.answer(site, request)

        return show

    async def home(request: Request) -> Response:
        return RedirectResponse(site.visit(request).href(site.pages[0].path), 303)

    async def streamed(request: Request) -> Response:
        return await live.stream(site, watcher, request)

    async def jumped(request: Request) -> Response:
        return await jumping.jump(site, request)

    async def asked(request: Request) -> Response:
        return await acting.ask(site, request)

    async def entered(request: Request) -> Response:
        return await _sign_in(site, request)

    routes = [
        *(Route(page.path, shown(page), name=page.name) for page in site.pages),
        Route("/live", streamed),
        Route("/jump", jumped),
        Route("/act/{act}", asked, methods=["GET"]),
        Route("/act/{act}", _posted(site, acting.do), methods=["POST"]),
        Route("/payload", _posted(site, acting.download), methods=["POST"]),
        Route("/sign-in", entered, methods=["GET"]),
        Route("/sign-in", _posted(site, _enter, known=False), methods=["POST"]),
        Route("/sign-out", _posted(site, _leave), methods=["POST"]),
    ]
    if all(page.path != "/" for page in site.pages):
        routes.append(Route("/", home))
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Headers)],
        exception_handlers={
            TrothError: _failed(site),
            HTTPException: _failed(site),
            Exception: _failed(site),
        },
        lifespan=lifespan,
    )
    app.mount("/static", Files(directory=str(resources.files("troth.console") / "static")))
    return app


def _posted(
    site: Site, deed: Deed, *, known: bool = True
) -> Callable[[Request], Awaitable[Response]]:
    """A handler of POSTs: nothing happens unless the form comes from a page of this console, for this person."""

    async def handle(request: Request) -> Response:
        require_own_origin(request, site.origins)
        operator = await site.door.who(request, site.reach) if known else None
        visit = site.visit(request, operator)
        form = await read_form(request)
        kept = None if visit.fresh_seed else visit.seed
        require_token(form, kept, operator.name if operator else "")
        return await deed(site, visit, form)

    return handle


# Coming and going -----------------------------------------------------------------------------------------------------


async def _sign_in(site: Site, request: Request) -> Response:
    """The page for those whom nobody knows; with a token in its address it is the door itself."""
    visit = site.visit(request)
    token = request.query_params.get("token")
    said = None
    if token:
        try:
            return await _let_in(site, visit, {"token": token})
        except NotSignedInError as error:
            said = str(error)
    if site.door.form is None:
        return _tell(site, request, trouble_of(NotSignedInError(await _why(site, request)), site))
    return site.show(visit, site.door.form, 200 if said is None else 401, said=said)


async def _why(site: Site, request: Request) -> str:
    try:
        operator = await site.door.who(request, site.reach)
    except NotSignedInError as error:
        return str(error)
    return f"you are signed in already, as {operator.name}"


async def _enter(site: Site, visit: Visit, form: dict[str, str]) -> Response:
    try:
        return await _let_in(site, visit, form)
    except NotSignedInError as error:
        assert site.door.form is not None
        return site.show(visit, site.door.form, 401, said=str(error))


async def _let_in(site: Site, visit: Visit, given: dict[str, str]) -> Response:
    entered = await site.door.enter(visit.request, site.reach, given)
    answer = RedirectResponse(_next(visit), 303)
    # Lax: who follows a link to a run from elsewhere is still signed in; what acts is guarded otherwise.
    answer.set_cookie(
        COOKIE, entered.cookie, entered.seconds, path=visit.root or "/", secure=visit.secure, httponly=True, samesite="lax"
    )  # fmt: skip
    return answer


def _next(visit: Visit) -> str:
    """Where somebody wanted to go, if that is a path of this console."""
    wanted = visit.asked("next")
    inside = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return visit.root + wanted if inside and wanted.isprintable() else visit.href("/")


async def _leave(site: Site, visit: Visit, _form: dict[str, str]) -> Response:
    await site.door.leave(visit.request, site.reach)
    answer = RedirectResponse(visit.href("/sign-in"), 303)
    answer.delete_cookie(COOKIE, path=visit.root or "/")
    return answer


# Errors ---------------------------------------------------------------------------------------------------------------


def _failed(site: Site) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, NotSignedInError):
            return _to_the_door(site, request, error)
        trouble = _http(error) if isinstance(error, HTTPException) else None
        if isinstance(error, TrothError):
            trouble = trouble_of(error, site)
        if trouble is None:
            return await _broken(site, request)
        return _tell(site, request, trouble, await _known(site, request))

    return handle


def _to_the_door(site: Site, request: Request, error: NotSignedInError) -> Response:
    """People are led to the page where they sign in; a stream, or a part of a page, is told to begin anew."""
    visit = site.visit(request)
    if (
        request.method != "GET"
        or "text/event-stream" in request.headers.get("accept", "").split(",")[0]
    ):
        return _tell(site, request, trouble_of(error, site))
    if site.door.form is None:
        return _tell(site, request, trouble_of(error, site))
    door = visit.href("/sign-in", next=visit.here.removeprefix(visit.root))
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": door})
    return RedirectResponse(door, 303)


def _http(error: HTTPException) -> Trouble:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Trouble(
            404,
            "There is no such page",
            "The address leads nowhere in this console.",
            "Paste an id above.",
        )
    words = HTTPStatus(error.status_code).phrase
    return Trouble(
        error.status_code, words, f"The console does not take this request: {words.lower()}."
    )


def _tell(
    site: Site, request: Request, trouble: Trouble, operator: Operator | None = None
) -> Response:
    visit = site.visit(request, operator)
    return site.show(visit, "trouble.html", trouble.status, trouble=trouble)


async def _known(site: Site, request: Request) -> Operator | None:
    """Who asks, for the menu of a page that only tells of a problem."""
    try:
        return await site.door.who(request, site.reach)
    except TrothError:
        return None


async def _broken(site: Site, request: Request) -> Response:
    """A defect. Starlette raises it again when this is sent, so that the server logs it."""
    said = "The console has a defect, so whatever this was to do has not been done."
    advice = "The log of the process that serves it has the traceback."
    answer = _tell(site, request, Trouble(500, "Something is broken here", said, advice))
    answer.headers.update({**HEADERS, "cache-control": "no-store"})
    return answer
