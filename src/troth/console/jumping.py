"""Paste anything, land on it; where it may mean several things, choose."""

from __future__ import annotations

import shlex

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from troth.console.site import Pairs, Site, Visit
from troth.view.jump import Target
from troth.view.jump import jump as look

# Where each kind of thing is shown: a path, and the names of its id and of what it is within in the query. `{id}` is the
# id, `{within}` what it is within.
PLACES: dict[str, tuple[str, str, str]] = {
    "run": ("/runs/{id}", "", ""),
    "effect": ("/effects/{within}", "path", ""),
    "workflow": ("/runs", "workflow", ""),
    "request": ("/requests/{id}", "", ""),
    "event": ("/inbox/event", "event", "source"),
    "outbox_message": ("/outbox/messages/{id}", "", ""),
    "endpoint": ("/outbox", "endpoint", ""),
    "object": ("/machines/object", "id", "machine"),
    "schedule": ("/schedule", "name", ""),
    "provider": ("/providers", "name", ""),
    "worker": ("/workers", "worker", ""),
    "decision": ("/decisions/{id}", "", ""),
    "principal": ("/decisions", "principal", ""),
}

SEARCHED = (
    "runs, by id and by start key; workflows whose runs are alive",
    "effects, by idempotency key",
    "messages to runs, by id",
    "answers to requests, by idempotency key and by id",
    "events, by the id that their source gave them",
    "messages of outboxes, by id; endpoints, by id",
    "objects of machines, by id",
    "schedules, providers and workers, by name; workers by number",
    "people by address and id, machines by the prefix of a key and by id",
    "decisions of access, by id and by whom they are about",
)


async def jump(site: Site, request: Request) -> Response:
    """`/jump?q=…`: the one thing that this means, or all that it may mean. Raises `NotSignedInError`."""
    visit = site.visit(request, await site.door.who(request, site.reach))
    wanted = visit.asked("q").strip()
    if not wanted:
        return RedirectResponse(visit.href("/"), 303)
    async with site.reach.reading() as tx:
        found = await look(tx, site.schema, wanted)
    places = [(each, address(visit, each)) for each in found if each.screen in PLACES]
    if len(places) == 1 or (
        places and places[0][0].screen == "effect"
    ):  # its key is of one run and one path
        return RedirectResponse(places[0][1], 303)
    return site.show(
        visit,
        "jump.html",
        200 if places else 404,
        wanted=wanted,
        places=places,
        searched=SEARCHED,
        command=shlex.join(["troth", "find", wanted]),
        topics=(),
        trouble=None,
    )


def address(visit: Visit, target: Target) -> str:
    """Where a thing is shown. Names that users chose stand in the query, where no character means anything."""
    path, own, outer = PLACES[target.screen]
    pairs: Pairs = [(own, target.id)] if own else []
    if outer and target.within is not None:
        pairs = [(outer, target.within), *pairs]
    return visit.href(path.format(id=target.id, within=target.within), pairs)
