"""Paste anything, land on it."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from troth.base.errors import RunNotFoundError
from troth.console.site import Site
from troth.journal import store as journal


async def jump(site: Site, request: Request) -> Response:
    """`/jump?q=…`: to what has this id or key. Raises `NotSignedInError`, and `RunNotFoundError` if nothing has."""
    visit = site.visit(request, await site.door.who(request, site.reach))
    wanted = visit.asked("q").strip()
    if not wanted:
        return RedirectResponse(visit.href("/"), 303)
    async with site.reach.reading() as tx:
        run_id = _as_id(wanted) or await journal.run_of_key(tx, journal.queries(site.schema), wanted[:500])
    if run_id is None:
        raise RunNotFoundError(f"nothing here has the id or the start key {wanted[:100]!r}")
    return RedirectResponse(visit.href(f"/runs/{run_id}"), 303)


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
