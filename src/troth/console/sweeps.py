"""Lists whose filter may be acted on as a whole: which filter, how many match, which those are."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from troth.store.tx import Tx
from troth.view import attention, runs
from troth.view.attention import AttentionFilter
from troth.view.filters import Criteria
from troth.view.paging import Count, capped
from troth.view.runs import RunFilter

Which = Any  # a filter of the list's own kind


@dataclass(frozen=True, slots=True)
class Sweep:
    """One list. *words*: of what matches, after its number. *count*: up to a cap; *ids*: at most so many.

    *where*: the filter as commands that act on runs take it; None if they cannot say it.
    """

    criteria: type[Criteria]
    words: tuple[str, str]
    count: Callable[[Tx, str, Which, int], Awaitable[Count]]
    ids: Callable[[Tx, str, Which, int], Awaitable[Sequence[UUID]]]
    where: Callable[[Which], str | None]

    def command(self, act: str, which: Criteria) -> str:
        """The command that does *act* to all of them; empty if there is none."""
        where = self.where(which)
        if where is None or act not in _WHERE:
            return ""
        return shlex.join(["troth", *act.split("."), "--where", where])


_WHERE = frozenset({"run.cancel", "run.resume"})


async def _waiting(tx: Tx, schema: str, which: AttentionFilter, cap: int) -> Count:
    return capped(len(await attention.ids(tx, schema, which, cap + 1)), cap)


def _of_attention(which: AttentionFilter) -> str | None:
    if which.owner is not None or which.unclaimed:
        return None
    return urlencode([("state", "attention"), *which.to_query()])


LISTS: Mapping[str, Sweep] = {
    "runs": Sweep(
        RunFilter,
        ("run that is alive now", "runs that are alive now"),
        runs.count,
        runs.live_ids,
        lambda which: urlencode(which.to_query()),
    ),
    "attention": Sweep(
        AttentionFilter,
        ("run that waits for a person now", "runs that wait for a person now"),
        _waiting,
        attention.ids,
        _of_attention,
    ),
}
