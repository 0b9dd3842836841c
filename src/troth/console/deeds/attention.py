"""Who looks after a run in attention, and what is to be known about it."""

from __future__ import annotations

from troth.command import attention
from troth.command.model import Author
from troth.console.deed import Deed, Field, Given
from troth.store.tx import Tx


def _run(given: Given) -> str:
    return str(given.id("run"))


async def _claim(tx: Tx, schema: str, author: Author, given: Given) -> None:
    owner, over = given.text("owner"), given.flag("take_over")
    await attention.claim(tx, schema, given.id("run"), author, owner, take_over=over)


def _claimed(given: Given, _made: None) -> str:
    owner = given.text("owner")
    return "Nobody looks after the run now." if owner is None else f"{owner} looks after the run."


async def _note(tx: Tx, schema: str, author: Author, given: Given) -> None:
    await attention.note(tx, schema, given.id("run"), author, given.text("text"))


DEEDS = (
    Deed(
        act="attention.claim", title="Look after a run", button="Say so", about=_run, do=_claim, said=_claimed,
        details=lambda given: {"owner": given.text("owner"), "take_over": given.flag("take_over")},
        fields=(
            Field("owner", "Who looks after it", help="Empty: nobody does any more."),
            Field("take_over", "Also if somebody else looks after it", "flag", help="Talk to them first."),
        ),
        each=True,
    ),
    Deed(
        act="attention.note", title="Note something about a run", button="Note it", about=_run, do=_note,
        said=lambda given, _: "Noted." if given.text("text") else "The note is gone.",
        details=lambda given: {"text": given.text("text")},
        fields=(Field("text", "What others should know", help="It replaces what was noted before; empty: nothing."),),
        note="",
    ),
)  # fmt: skip
