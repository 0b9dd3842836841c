"""Who looks after a run in attention, and what they say about it. Both are forgotten when the run leaves attention."""

from __future__ import annotations

from uuid import UUID

from troth.command import desk_store, store
from troth.command.model import Author, ClaimedError
from troth.store.tx import Tx


async def claim(
    tx: Tx, schema: str, run_id: UUID, author: Author, owner: str | None, *, take_over: bool = False
) -> None:
    """Say that *owner* looks after a run in attention; None: nobody does.

    Raises `ClaimedError` if somebody else than *author* does, unless *take_over*; `NotInAttentionError`, `RunEndedError`,
    `RunNotFoundError`. To be carried out as `attention.claim`.
    """
    await store.hold(tx, schema, run_id)
    q = desk_store.queries(schema)
    found = await desk_store.looked_after(tx, q, run_id)
    if found is not None and not take_over and found[0] not in {author.by, owner}:
        msg = f"{found[0]} looks after run {run_id} since {found[1]:%F %T} UTC. Talk to them, or take it over (--take-over)"
        raise ClaimedError(msg)
    await desk_store.look_after(tx, q, run_id, owner)


async def note(tx: Tx, schema: str, run_id: UUID, author: Author, text: str | None) -> None:
    """Say what is to be known about a run in attention, in place of what was said before; None: nothing any more.

    Raises `NotInAttentionError`, `RunEndedError`, `RunNotFoundError`. To be carried out as `attention.note`.
    """
    await store.hold(tx, schema, run_id)
    await desk_store.note(tx, desk_store.queries(schema), run_id, author.by, text)
