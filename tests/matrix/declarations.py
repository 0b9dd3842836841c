"""The axes of the matrix: what is done, what goes wrong, and what the author says of the other side."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

COLUMNS = ("customer", "subscription", "payment intent", "refund", "mail")

REFUSE_BEFORE, KILL_BEFORE, KILL_AFTER = "refuse before", "kill -9 before", "kill -9 after"
ON_THE_WIRE = (
    "429",
    "500 before",
    "time out after",
    "reset after",
    "500 after",
    "truncate after",
    "late delivery",
)
ROWS = (REFUSE_BEFORE, *ON_THE_WIRE, KILL_BEFORE, KILL_AFTER)
# Where trying again without asking makes a second object, sooner or later.
REPEATABLE = (*ON_THE_WIRE[2:], KILL_AFTER)
# Not in the matrix, for no declaration survives it: delivery after the end of what the provider promised.
LATER_THAN_PROMISED = "later than promised"

Outside = Literal["example provider", "localstripe", "mailbox"]
Says = Literal["keyed", "probed", "at_most_once", "at_least_once", "blind"]


@dataclass(frozen=True)
class Declaration:
    """What the program says of one outside. *blind* is a lie: a fresh key for each attempt.

    *sdk_retries*: the client library keeps the retries that it does by itself.
    """

    name: str
    outside: Outside
    says: Says
    sdk_retries: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        mail = self.outside == "mailbox"
        return tuple(column for column in COLUMNS if (column == "mail") is mail)

    def workflow(self, column: str) -> str:
        return re.sub(r"[, ]+", "-", f"{self.name}.{column}")


KEYED = Declaration("keyed", "example provider", "keyed")
AS_SHIPPED = Declaration("keyed, SDK as shipped", "example provider", "keyed", sdk_retries=True)
PROBED = Declaration("probed", "example provider", "probed")
STRANGER = Declaration("localstripe", "localstripe", "probed")
STRANGER_AS_SHIPPED = Declaration(
    "localstripe, SDK as shipped", "localstripe", "probed", sdk_retries=True
)
AT_MOST_ONCE = Declaration("mail at most once", "mailbox", "at_most_once")
AT_LEAST_ONCE = Declaration("mail at least once", "mailbox", "at_least_once")
BLIND = Declaration("blind", "example provider", "blind")
BLIND_MAIL = Declaration("blind mail", "mailbox", "blind")

ALL = {
    declared.name: declared
    for declared in (
        KEYED,
        AS_SHIPPED,
        PROBED,
        STRANGER,
        STRANGER_AS_SHIPPED,
        AT_MOST_ONCE,
        AT_LEAST_ONCE,
        BLIND,
        BLIND_MAIL,
    )
}
