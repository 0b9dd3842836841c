"""Tells the reader: a live view while it happens, and the table afterwards."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.signup.demo.audit import Row, Verdict
from examples.signup.demo.board import Board
from examples.signup.demo.money import Accounts, Line, Sum
from examples.signup.demo.post import Post
from examples.signup.demo.reconcile import Reconciled
from troth import Money

COLUMNS = (
    "expected",
    "database",
    "provider",
    "mailbox",
    "in_doubt",
    "doubled",
    "lost",
    "half_done",
)

TITLES = {"in_doubt": "doubt", "half_done": "half-done"}
SHOWN = 20  # findings
DUPLICATE = 422  # what the bank answers to an order that it has had


@dataclass(frozen=True)
class Result:
    """All that was found out: by the audit of things, by that of money, and by the workers, who have reconciled.

    *gap*: something was planted that they should find.
    """

    verdict: Verdict
    accounts: Accounts
    reconciled: Sequence[Reconciled]
    mail: Post
    gap: bool

    @property
    def explained(self) -> bool:
        """The money is, to the cent."""
        return self.accounts.holds and all(each.holds for each in self.reconciled)


class View:
    """The live view of a board; on something that is no terminal, the news as lines."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8)
        self._console = console

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._board.listeners.append(
                lambda line: self._console.print(line, highlight=False, soft_wrap=True)
            )

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def _render(self) -> RenderableType:
        board = self._board
        facts = Table.grid(padding=(0, 2))
        facts.add_row("people", people(board))
        facts.add_row("runs", counts(board.states) or "none yet")
        facts.add_row("requests", f"{board.clicks} clicks, {board.retries} repeated")
        facts.add_row("trouble", trouble(board))
        return Group(facts, Text("\n".join(board.news), style="dim"))


def people(board: Board) -> RenderableType:
    line = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=board.people, completed=board.finished, width=40)
    line.add_row(bar, f"{board.finished} of {board.people} done, {board.seconds:.0f} s")
    return line


def trouble(board: Board) -> str:
    held = sum(held for _, held in board.kills)
    kills = plural(len(board.kills), "worker process", "worker processes")
    crashes = plural(len(board.outages_s), "time", "times")
    return f"{kills} killed with {held} runs in flight; PostgreSQL killed {crashes}"


def plural(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def counts(states: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def report(result: Result, complaints: Sequence[str], board: Board, console: Console) -> None:
    """Print the tables, what is in doubt, and everything that is wrong."""
    verdict, accounts = result.verdict, result.accounts
    console.print()
    console.print(table(verdict.rows))
    console.print()
    console.print(money(accounts.lines))
    console.print()
    console.print(reconciliation(result.reconciled))
    asked = f"{board.people} people, {board.clicks} clicks, {board.retries} requests repeated"
    lines = ["", f"{asked}; {board.seconds:.0f} s", trouble(board)]
    if board.orders[DUPLICATE]:
        again = plural(board.orders[DUPLICATE], "order", "orders")
        lines.append(f"the bank did not answer in time; {again} came to it again, and it knew them")
    if result.mail.late:
        lines.append(f"of {result.mail.issued} statements one was missed, and came twice")
    if board.faults:
        total = plural(sum(board.faults.values()), "time", "times")
        lines.append(f"the provider misbehaved {total}: {counts(board.faults)}")
    lines.append("")
    for doubt in verdict.doubts:
        fact = "it arrived" if doubt.arrived else "it did not arrive"
        lines.append(f"in doubt: the welcome to {doubt.email}; the mailbox says: {fact}")
    lines += [
        f"{finding.kind}: {finding.thing} of {finding.email or 'nobody'}: {finding.explanation}"
        for finding in verdict.findings[:SHOWN]
    ]
    if len(verdict.findings) > SHOWN:
        lines.append(f"... and {len(verdict.findings) - SHOWN} more (--json has all of them)")
    lines += [f"not zero: {account.code} is {amount(account.minor)}" for account in accounts.open]
    lines += [
        f"{one.name}: {each.kind}, {amount(each.minor)}: {each.note}"
        for one in result.reconciled
        for each in one.breaks
    ]
    lines.append(last_words(result))
    lines += [f"wrong: {complaint}" for complaint in complaints]
    lines.append("It holds." if verdict.holds and not complaints else "It does not hold.")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def table(rows: Sequence[Row]) -> Table:
    """The counts of every side, and what is wrong with them."""
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("", no_wrap=True)
    for name in COLUMNS:
        shown.add_column(TITLES.get(name, name), justify="right")
    for row in rows:
        right = row.adds_up and not (row.doubled or row.lost or row.half_done)
        counts = [cell(getattr(row, name)) for name in COLUMNS]
        shown.add_row(row.thing, *counts, style="green" if right else "bold red")
    return shown


def last_words(result: Result) -> str:
    if result.explained:
        return "The money is explained to the cent."
    meant = ": the bank has forgotten a line, as was meant" if result.gap else ""
    return f"The money is not explained{meant}."


def money(lines: Sequence[Line]) -> Table:
    """What each party has of each kind of movement."""
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("money", no_wrap=True)
    for name in ("expected", "our books", "provider", "bank", "difference"):
        shown.add_column(name, justify="right")
    for line in lines:
        sides = [figure(one) for one in (line.expected, line.books, line.provider, line.bank)]
        style = "green" if line.holds else "bold red"
        shown.add_row(line.thing, *sides, amount(line.difference), style=style)
    return shown


def reconciliation(reconciled: Sequence[Reconciled]) -> Table:
    """What the workers have compared with what."""
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("reconciliation", no_wrap=True)
    for name in ("our items", "their items", "matched", "breaks", "verdict"):
        shown.add_column(name, justify="right")
    for one in reconciled:
        cells = (one.ours, one.theirs, one.matched, len(one.breaks), one.verdict)
        style = "green" if one.holds else "bold red"
        shown.add_row(one.name, *map(cell, cells), style=style)
    return shown


def figure(side: Sum | None) -> str:
    return "" if side is None else f"{side.count}: {amount(side.minor)}"


def amount(minor: int) -> str:
    return Money(minor, "EUR").text()


def cell(value: object) -> str:
    return "" if value is None else str(value)


def as_json(result: Result, complaints: Sequence[str], board: Board) -> dict[str, Any]:
    """The same for machines."""
    verdict, accounts = result.verdict, result.accounts
    return {
        "holds": verdict.holds and not complaints,
        "table": [asdict(row) for row in verdict.rows],
        "money": [asdict(line) for line in accounts.lines],
        "not_zero": [asdict(account) for account in accounts.open],
        "reconciled": [asdict(one) for one in result.reconciled],
        "statements": asdict(result.mail),
        "explained": result.explained,
        "in_doubt": [asdict(doubt) for doubt in verdict.doubts],
        "findings": [asdict(finding) for finding in verdict.findings],
        "complaints": list(complaints),
        "people": board.people,
        "clicks": board.clicks,
        "repeated_requests": board.retries,
        "told": dict(board.ended),
        "kills": [{"worker": name, "runs_in_flight": held} for name, held in board.kills],
        "database_outages_s": [round(seconds, 2) for seconds in board.outages_s],
        "provider_faults": board.faults,
        "bank_orders": dict(board.orders),
        "seconds": round(board.seconds, 1),
    }
