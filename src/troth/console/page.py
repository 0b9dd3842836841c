"""A page: what is asked of it by its address, what is read for that, and what becomes of it if that fails.

To add one: a file in `pages/` with a `Page`, a template that extends `layout.html` (blocks `filters` and `content`), and
a line in `screens.py`. What a page asks is read in one snapshot; it cannot write, and is ended after a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from troth.base.errors import TrothError, UsageError
from troth.console import live
from troth.console.site import Site, Visit
from troth.console.trouble import Trouble, sentence, trouble_of
from troth.store.tx import Tx

Q = TypeVar("Q")


def _nothing(_asked: Any) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Page(Generic[Q]):
    """One screen.

    *name*: of its template (`NAME.html`). *ask*: what the address asks; raises `UsageError` for what cannot be, which is
    told where the answer would be. *read*: the values for the template, from the database. *topics*: when these change,
    the page is read again (`view.pulse` has them). *narrow*: what to do if the question takes too long. *menu*: its word in
    the menu; empty: it is not there, and *within* is the name of the page there that it belongs to. *key*: goes there after `g`. *heading*: of the page before anything was read.
    """

    name: str
    path: str
    heading: str
    ask: Callable[[Visit], Q]
    read: Callable[[Tx, Visit, Q], Awaitable[Mapping[str, Any]]]
    topics: Callable[[Q], tuple[str, ...]] = _nothing
    narrow: str = "ask for less"
    menu: str = ""
    within: str = ""
    key: str = ""

    async def answer(self, site: Site, request: Request) -> Response:
        """The page as a response. Raises `NotSignedInError`."""
        visit = site.visit(request, await site.door.who(request, site.reach))
        try:
            asked = self.ask(visit)
        except UsageError as error:
            trouble = Trouble(400, "This address asks for what cannot be", sentence(error))
            return site.show(visit, f"{self.name}.html", trouble.status, page=self, trouble=trouble)
        topics = self.topics(asked)
        try:
            seen = ""
            if topics:
                # Before the snapshot of the page, and not in it: the server's counters keep to no snapshot.
                async with site.reach.reading() as tx:
                    seen = await live.seen(tx, site.schema, topics)
            async with site.reach.reading() as tx:
                told = await self.read(tx, visit, asked)
        except TrothError as error:
            trouble = trouble_of(error, site, self.narrow)
            return site.show(
                visit,
                f"{self.name}.html",
                trouble.status,
                page=self,
                topics=topics,
                trouble=trouble,
            )
        return site.show(visit, f"{self.name}.html", page=self, topics=topics, seen=seen, **told)
