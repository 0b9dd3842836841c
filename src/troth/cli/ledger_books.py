"""What is done with the books as a whole, and the two acts on them: a transfer by hand, and the closing of a period."""

from __future__ import annotations

import dataclasses
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import App, Parameter
from rich.text import Text

from troth.base.errors import UsageError
from troth.cli import durations
from troth.cli.acting import act, author, read
from troth.cli.failure import PROBLEM
from troth.cli.options import DEFAULT_CONNECTION, By, Connection, Note, Output, StatementTimeout
from troth.cli.output import as_text, cell, console

_HEAD: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")

if TYPE_CHECKING:
    from troth.ledger.model import Result
    from troth.ledger.verify import Report
    from troth.store.tx import Tx


def post(
    id_: Annotated[
        str, Parameter(name="ID", help="The idempotency key: the same again posts nothing.")
    ],
    debit: Annotated[str, Parameter(help="The account on the debit side.")],
    credit: Annotated[str, Parameter(help="The account on the credit side.")],
    amount: Annotated[str, Parameter(help="How much, as 12.34.")],
    currency: Annotated[str, Parameter(help="Its currency, as EUR.")],
    /,
    *,
    code: Annotated[str | None, Parameter(help="Why, a word of yours.")] = None,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Post one transfer by hand, and record who did.

    Example: troth ledger post correction:2026-11-30 expenses:fees assets:bank 1.25 EUR --note "bank fee of October"
    """
    from troth.base.money import Money
    from troth.ledger import Ledger, Transfer

    money = Money.parse(amount, currency)
    ledger = Ledger()
    ledger.bind(connection.schema)

    async def do(tx: Tx) -> Result:
        return await ledger.post(tx, Transfer(id_, debit, credit, money, code=code))

    def say(made: Result) -> str:
        return f"{made.outcome}: {money} from {credit} to {debit}, number {made.seq}"

    details = {
        "debit": debit,
        "credit": credit,
        "amount": money.text(),
        "currency": currency,
        "code": code,
    }
    act(
        connection, author(by, note), "ledger.post", id_, details, do, say,
        told=lambda made: {"id": str(made.id), "outcome": made.outcome, "seq": made.seq},
    )  # fmt: skip


def close(
    through: Annotated[
        str, Parameter(help="The end of the period (2026-11-01): what counts before it is closed.")
    ],
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Close a period: nothing can be posted any more that counts before its end. It cannot be opened again.

    Example: troth ledger close 2026-11-01 --note "October"
    """
    from troth.ledger import Ledger

    who = author(by, note)
    end = moment("THROUGH", through)
    assert end is not None
    ledger = Ledger()
    ledger.bind(connection.schema)

    async def do(tx: Tx) -> None:
        await ledger.periods.close(tx, end, by=who.by, note=note)

    act(
        connection, who, "ledger.close", end.isoformat(), {}, do,
        lambda _: f"closed until {end:%F %T} UTC",
    )  # fmt: skip


def verify(
    *,
    head: Annotated[
        str | None,
        Parameter(
            help="NUMBER:HASH of a block that was kept elsewhere, as `troth ledger seal` prints it."
        ),
    ] = None,
    against: Annotated[
        Literal["hledger"] | None,
        Parameter(help="Have that program add up an export, and compare each balance."),
    ] = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 3600.0,
) -> int:
    """Work out every balance, hold and hash again from the transfers, and say what differs. It changes nothing.

    It reads one snapshot, while others post. Exit code 0: the books are sound; 1: they are not.

    Example: troth ledger verify --head 42:9f2c… --against hledger
    """
    from troth.ledger.against import against_hledger
    from troth.ledger.verify import CHECKS
    from troth.ledger.verify import verify as look_at_all

    anchor = None if head is None else _anchor(head)

    def begins(check: str) -> None:
        if output == "table" and sys.stderr.isatty():
            print(f"{check}: {CHECKS[check]} ...", file=sys.stderr)

    async def look(tx: Tx) -> Report:
        found = await look_at_all(tx, connection.schema, anchor=anchor, begins=begins)
        if against is None:
            return found
        beside = await against_hledger(tx, connection.schema, against)
        return dataclasses.replace(found, checks=(*found.checks, beside))

    report = read(connection, statement_timeout, look)
    if output == "table":
        _page(report)
    else:
        told = {**dataclasses.asdict(report), "sound": report.is_sound}
        print(as_text(told, indent=2 if output == "json" else 0))
    return 0 if report.is_sound else PROBLEM


def export(
    *,
    format_: Annotated[
        Literal["hledger", "beancount"], Parameter(name="--format", help="Whose journal to write.")
    ] = "hledger",
    connection: Connection = DEFAULT_CONNECTION,
    statement_timeout: StatementTimeout = 3600.0,
) -> None:
    """Print the books as a journal that another program can work out balances from.

    Example: troth ledger export > books.journal && hledger -f books.journal balance
    """
    from troth.ledger.export import export as pieces
    from troth.ledger.export import journal_for

    async def write(tx: Tx) -> None:
        async for piece in pieces(tx, connection.schema, journal_for(format_)):
            sys.stdout.write(piece)

    read(connection, statement_timeout, write)


def seal(
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
) -> None:
    """Seal all that has committed into blocks now, and print NUMBER:HASH of the latest one.

    Keep that where nobody who can write to the database can reach it: `troth ledger verify --head` compares. Workers seal
    by themselves; that somebody did by hand is recorded.

    Example: troth ledger seal >> /mnt/elsewhere/heads
    """
    from troth.ledger import seal as sealing

    async def do(tx: Tx) -> tuple[int, tuple[int, bytes] | None]:
        made = await sealing.seal_all(tx, connection.schema)
        return sum(len(each.seqs) for each in made), await sealing.head(tx, connection.schema)

    def say(made: tuple[int, tuple[int, bytes] | None]) -> str:
        number, hash_ = made[1] or (0, b"")
        if output != "table":
            told = {"number": number, "hash": hash_.hex(), "sealed": made[0]}
            return as_text(told, indent=2 if output == "json" else 0)
        return f"{number}:{hash_.hex()}" if number else "nothing was posted yet"

    act(
        connection, author(by, note), "ledger.seal", connection.schema, {}, do, say,
        told=lambda made: {"sealed": made[0], "head": made[1] and f"{made[1][0]}:{made[1][1].hex()}"},
    )  # fmt: skip


def add_to(app: App) -> None:
    """Make these commands of *app*."""
    for command in (post, close, verify, export, seal):
        app.command(command)


def moment(word: str, text: str | None) -> datetime | None:
    """A time that was typed as *word*. Raises `UsageError`."""
    if text is None:
        return None
    try:
        return durations.moment(text, datetime.now(UTC)).astimezone(UTC)
    except ValueError as error:
        raise UsageError(f"{word}: {error}") from None


def _anchor(text: str) -> tuple[int, bytes]:
    found = _HEAD.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--head is NUMBER:HASH, as troth ledger seal prints it, not {text!r}")
    return int(found[1]), bytes.fromhex(found[2])


def _page(report: Report) -> None:
    from troth.ledger import against
    from troth.ledger.verify import CHECKS

    out, means = console(), {**CHECKS, against.CHECK: against.MEANS}
    out.print(
        f"{report.accounts:,} accounts, {report.transfers:,} transfers, {report.refusals:,} refusals, "
        f"{report.entries:,} entries, {report.queued:,} legs to be folded, {report.blocks:,} blocks"
    )
    for each in report.checks:
        word = "ok" if not each.wrong else f"{each.wrong:,} WRONG"
        out.print(Text(f"{each.check:10} {word:10} {means[each.check]}"))
        for finding in each.findings:
            out.print(
                Text(f"           {cell(finding.about)}: {cell(finding.problem)}", style="bold")
            )
        if each.wrong > len(each.findings):
            out.print(Text(f"           and {each.wrong - len(each.findings):,} more"))
    out.print("The books are sound." if report.is_sound else "The books are NOT sound.")
