"""Acts on the desk itself: how many people an act needs, and taking back what was proposed."""

from __future__ import annotations

from typing import Any

from troth.base.errors import UsageError
from troth.command import desk
from troth.command.acts import kind_of
from troth.command.model import Author, Proposed
from troth.console.deed import Deed, Field, Given
from troth.store.tx import Tx


def _act(given: Given) -> str:
    """The act that a rule is about. Raises `UsageError` for one that sees to its people itself, or is none."""
    kind = kind_of(given.needed("act"))
    if kind.own_eyes:
        raise UsageError(f"how many people {kind.name} needs is said where its effect is declared")
    return kind.name


def _eyes(given: Given) -> dict[str, Any]:
    return {"eyes": given.number("eyes")}


async def _rule(tx: Tx, schema: str, author: Author, given: Given) -> Proposed | None:
    return await desk.set_rule(tx, schema, author, _act(given), given.number("eyes"))


def _ruled(given: Given, _made: Any) -> str:
    people = "one person" if given.number("eyes") == 1 else "two people"
    return f"{_act(given)} needs {people} from now on, here and on the command line."


async def _withdraw(tx: Tx, schema: str, author: Author, given: Given) -> Proposed | None:
    return await desk.withdraw(tx, schema, author, given.number("proposal"))


DEEDS = (
    Deed(
        act="act.rule", title="How many people an act needs", button="Make it the rule", about=_act, do=_rule, details=_eyes,
        said=_ruled, hidden=("act",), own_desk=True, back=lambda _: ("/audit/rules", {}),
        fields=(Field("eyes", "People", "choice", choices=(("1", "one person"), ("2", "two people")), default="2"),),
    ),
    Deed(
        act="act.withdraw", title="Take back a proposal", button="Take it back",
        about=lambda given: str(given.number("proposal")), do=_withdraw, hidden=("proposal",), own_desk=True,
        back=lambda _: ("/audit/waiting", {}),
        said=lambda given, _: f"Proposal {given['proposal']} is withdrawn: nothing happens.",
    ),
)  # fmt: skip
