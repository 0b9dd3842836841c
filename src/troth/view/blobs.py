"""One payload at a time, for whoever wants to see it: its size, and so much of it as was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from troth.base.errors import UsageError
from troth.store.tx import Tx
from troth.view.paging import Blob, blob


async def blob_of(tx: Tx, statement: LiteralString, params: Mapping[str, Any]) -> Blob | None:
    """What a statement finds that gives a size and a beginning; None if there is nothing."""
    row = await (await tx.execute(statement, params)).fetchone()
    return None if row is None else blob(row[0], row[1])


def require_one_of(what: str, known: Sequence[str], of: str) -> None:
    """Raise `UsageError` for a payload that there is not."""
    if what not in known:
        raise UsageError(f"{of} has no {what!r} to show: it has {', '.join(known)}")
