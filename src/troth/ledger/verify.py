"""Verifying: everything that the ledger keeps is worked out again from the transfers, and compared.

It looks from outside: no statement here is shared with posting. It reads one snapshot, so it may run while others post; a
page of blocks is the most that it holds in memory, and what does not fit into the server's is sorted there on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from troth.ledger import seal
from troth.store.queries import load
from troth.store.tx import Tx

CHECKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "trial": "debits and credits are equal in each currency, posted and pending",
        "transfers": "each transfer's legs sum to zero in each currency",
        "legs": "each leg is one entry, and nothing else is",
        "entries": "entries are numbered without a gap, with the right totals",
        "balances": "each balance is that of the latest entry",
        "limits": "no account went beyond its limit",
        "holds": "what is left of holds is what was not posted or let go",
        "pending": "what is pending is what open holds hold",
        "reversals": "nothing is taken back by more than it was",
        "ids": "each id is taken once, by what has it",
        "periods": "closed periods are as they were closed",
        "blocks": "nothing that was sealed has changed",
    }
)
"""What is looked at, in this order, and what holds if nothing is found."""

MOST_TOLD: Final = 20
"""At most so many findings of one check are told one by one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong. *about*: what; *problem*: how."""

    check: str
    about: str
    problem: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One check. *wrong*: how many findings it has; *findings*: the first of them."""

    check: str
    wrong: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What was verified, how much of it there was, and what is wrong."""

    accounts: int
    transfers: int
    refusals: int
    entries: int
    queued: int
    blocks: int
    checks: tuple[Checked, ...]

    @property
    def is_sound(self) -> bool:
        """Was nothing found?"""
        return not any(each.wrong for each in self.checks)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, in the order of the checks."""
        return tuple(finding for each in self.checks for finding in each.findings)


def _ignore(_check: str) -> None:
    """Nobody wants to know how far it is."""


async def verify(
    tx: Tx,
    schema: str,
    *,
    anchor: tuple[int, bytes] | None = None,
    begins: Callable[[str], None] = _ignore,
) -> Report:
    """Work out everything again, and say what differs. Writes nothing.

    *tx* is one snapshot (repeatable read), without a limit on the time of a statement. *anchor*: the number and hash of
    a block that were kept elsewhere (`seal.head`). *begins* is told which check begins.
    """
    q = load("troth.ledger", schema, "verify.sql")
    counts = await (await tx.execute(q.looked_at)).fetchone()
    assert counts is not None
    checks: list[Checked] = []
    for check in CHECKS:
        begins(check)
        if check == "blocks":
            checks.append(await _blocks(tx, schema, anchor))
            continue
        rows = await (await tx.execute(q[check], {})).fetchall()
        findings = tuple(Finding(check, about, problem) for about, problem, _ in rows)
        checks.append(Checked(check, rows[0][2] if rows else 0, findings))
    accounts, transfers, refusals, entries, queued, blocks = counts
    return Report(accounts, transfers, refusals, entries, queued, blocks, tuple(checks))


async def _blocks(tx: Tx, schema: str, anchor: tuple[int, bytes] | None) -> Checked:
    wrong = 0
    told: list[Finding] = []
    async for fault in seal.faults(tx, schema, anchor=anchor):
        wrong += 1
        if len(told) < MOST_TOLD:
            told.append(Finding("blocks", "the chain of blocks", fault))
    return Checked("blocks", wrong, tuple(told))
