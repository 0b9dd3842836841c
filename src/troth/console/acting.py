"""Acts: the form of one (GET) says what it means, and sending it (POST) does it, through the desk.

Both are pages of their own, so that they work without JavaScript; with it, they open over the page they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from troth.base.errors import TrothError, UsageError
from troth.command import desk
from troth.command.acts import ACTS, ActKind, kind_of
from troth.command.model import NotInAttentionError, Proposed
from troth.command.spelling import as_command
from troth.console import payloads
from troth.console.deed import Deed, Given, Place, Preview
from troth.console.deeds import DEEDS
from troth.console.site import Site, Visit
from troth.console.sweeps import LISTS, Sweep
from troth.console.trouble import Trouble, trouble_of
from troth.store.tx import Tx
from troth.view.filters import Criteria


async def ask(site: Site, request: Request) -> Response:
    """The form of an act. Raises `NotSignedInError`, and `UsageError` for an act that has none."""
    visit = site.visit(request, await site.door.who(request, site.reach))
    deed, kind = _deed(request)
    given = Given(request.query_params)
    if "where" in given:
        return await _ask_for_each(site, visit, deed, given)
    try:
        about = deed.about(given)
        async with site.reach.reading() as tx:
            preview = await _preview(tx, site, deed, given)
    except TrothError as error:
        return _told(site, visit, deed, trouble=trouble_of(error, site))
    return site.show(
        visit, "act.html", deed=deed, kind=kind, given=given, about=about, preview=preview,
        command=_command(deed, about, given),
    )  # fmt: skip


async def do(site: Site, visit: Visit, form: dict[str, str]) -> Response:
    """Do an act; the answer says what has happened, or why nothing has."""
    deed, _ = _deed(visit.request)
    given = Given(form)
    if "where" in given:
        return await _do_each(site, visit, deed, given)
    try:
        about = deed.about(given)
        made = await carry_out(site, visit, deed, about, given)
    except TrothError as error:
        return _told(site, visit, deed, trouble=trouble_of(error, site), given=given)
    if isinstance(made, Proposed):
        return _told(site, visit, deed, said=_waits(made), given=given, proposed=True)
    more = {} if deed.shown is None else deed.shown(site, given, made)
    template = deed.after or "act_done.html"
    return site.show(
        visit, template, deed=deed, given=given, made=made, said=deed.said(given, made), trouble=None, proposed=False, failed={},
        back=_back(deed, given), **more,
    )  # fmt: skip


async def carry_out(site: Site, visit: Visit, deed: Deed, about: str, given: Given) -> Any:
    """One act in one transaction, through the desk. Raises what the desk and the deed raise."""
    note = given.text("note")
    if deed.note_needed and note is None:
        raise UsageError(f"say it for the record: {deed.note[:1].lower()}{deed.note[1:]}")
    author = visit.author(note)
    details = deed.details(given)
    async with (
        desk.recording_refusals(site.reach.connection, site.schema, site.reach.telemetry),
        site.reach.acting() as tx,
    ):

        async def act() -> Any:
            if "shown" in given and not deed.own_check:
                require_as_shown(await _preview(tx, site, deed, given), given)
            return await deed.do(tx, site.schema, author, given)

        if deed.own_desk:
            return await act()
        return await desk.carry_out(
            tx, site.schema, author, deed.act, about, details, act, told=deed.told,
            telemetry=site.reach.telemetry,
        )  # fmt: skip


def require_as_shown(now: Preview | None, given: Given) -> None:
    """Raise `NotInAttentionError` if the act would do something else than its form has shown, or more."""
    if now is None:
        return
    if now.mark != given["shown"]:
        msg = "it has moved on since this was shown, so nothing was done: look again"
        raise NotInAttentionError(msg)
    if now.count is not None and now.count.n > given.number("counted"):
        msg = f"{now.count} match now, and {given['counted']} did when you looked, so nothing was done: look again"
        raise NotInAttentionError(msg)


async def download(site: Site, visit: Visit, form: dict[str, str]) -> Response:
    """A whole payload as a file; that somebody took it is recorded as `payload.show`. Raises what the desk raises."""
    deed = DEEDS["payload.show"]
    given = Given(form)
    made = await carry_out(site, visit, deed, deed.about(given), given)
    if isinstance(made, Proposed):
        return _told(site, visit, deed, said=_waits(made), given=given, proposed=True)
    async with site.reach.reading() as tx:
        data = await payloads.whole(tx, site, given)
    name = re.sub(r"[^\w.-]+", "_", f"{deed.about(given)}-{given['of']}", flags=re.ASCII)[:120]
    headers = {"content-disposition": f'attachment; filename="{name}.json"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _deed(request: Request) -> tuple[Deed, ActKind]:
    name = request.path_params["act"]
    kind = kind_of(name)
    if name not in DEEDS:
        raise UsageError(f"{name} has no form here; the command line does it")
    return DEEDS[name], kind


async def _preview(tx: Tx, site: Site, deed: Deed, given: Given) -> Preview | None:
    return None if deed.preview is None else await deed.preview(tx, site.schema, given)


def _command(deed: Deed, about: str, given: Given) -> str:
    """The same as a command; empty as long as it is not said what."""
    try:
        details = deed.details(given)
    except UsageError:
        return ""
    kept = {name: value for name, value in details.items() if name not in ACTS[deed.act].hidden}
    return as_command(deed.act, about, kept)


def _waits(made: Proposed) -> str:
    return (
        f"This act needs two people. It is proposed in your name, and happens when a second person does the same before "
        f"{made.until:%Y-%m-%d %H:%M} UTC."
    )


def _told(
    site: Site,
    visit: Visit,
    deed: Deed,
    *,
    said: str = "",
    trouble: Trouble | None = None,
    given: Given | None = None,
    proposed: bool = False,
    failed: Mapping[Any, str] | None = None,
) -> Response:
    given = given or Given()
    return site.show(
        visit, "act_done.html", 200 if trouble is None else trouble.status, deed=deed, said=said, trouble=trouble,
        given=given, proposed=proposed, failed=failed or {}, made=None, back=_back(deed, given),
    )  # fmt: skip


def _back(deed: Deed, given: Given) -> Place:
    """The page that an act was done from: that of its object, or the list whose filter it was done to."""
    if "where" not in given:
        return deed.back(given)
    name = given.get("list", "runs")
    return f"/{name if name in LISTS else 'runs'}", parse_qsl(given["where"])


# An act on all runs of a filter ---------------------------------------------------------------------------------------


async def _ask_for_each(site: Site, visit: Visit, deed: Deed, given: Given) -> Response:
    try:
        sweep, which = _filter(deed, given)
        async with site.reach.reading() as tx:
            count = await sweep.count(tx, site.schema, which, desk.MOST_AT_ONCE)
    except TrothError as error:
        return _told(site, visit, deed, trouble=trouble_of(error, site))
    return site.show(
        visit, "act_each.html", deed=deed, kind=ACTS[deed.act], given=given, count=count,
        words=sweep.words[count.n != 1], most=desk.MOST_AT_ONCE, command=sweep.command(deed.act, which),
    )  # fmt: skip


async def _do_each(site: Site, visit: Visit, deed: Deed, given: Given) -> Response:
    try:
        sweep, which = _filter(deed, given)
        counted = given.number("counted")
        async with site.reach.reading() as tx:
            runs = await sweep.ids(tx, site.schema, which, desk.MOST_AT_ONCE)
        if len(runs) > counted:
            msg = f"{len(runs)} runs match now, and {counted} did when you looked, so nothing was done: look again"
            raise NotInAttentionError(msg)
        author = visit.author(given.text("note"))
        swept = await desk.on_each(
            site.reach.acting, site.schema, author, deed.act, runs, deed.details(given),
            lambda tx, run: deed.do(tx, site.schema, author, Given(given, run=str(run))),
            telemetry=site.reach.telemetry,
        )  # fmt: skip
    except TrothError as error:
        return _told(site, visit, deed, trouble=trouble_of(error, site), given=given)
    many = "one run" if len(swept.done) == 1 else f"{len(swept.done)} runs"
    words = [f"{deed.title}: done for {many}"]
    if swept.proposed:
        words.append(f"proposed for {len(swept.proposed)}, which wait for a second person")
    if swept.failed:
        words.append(f"not possible for {len(swept.failed)}")
    return _told(site, visit, deed, said="; ".join(words) + ".", failed=swept.failed, given=given)


def _filter(deed: Deed, given: Given) -> tuple[Sweep, Criteria]:
    if not deed.each:
        raise UsageError(f"{deed.act} is done to one object, and not to a filter")
    name = given.get("list", "runs")
    if name not in LISTS:
        raise UsageError(f"there is no list {name!r}: there are {', '.join(LISTS)}")
    which = LISTS[name].criteria.from_query(parse_qsl(given["where"]))
    if which.is_empty():
        raise UsageError(f"this would be all {LISTS[name].words[1]}: filter first")
    return LISTS[name], which
