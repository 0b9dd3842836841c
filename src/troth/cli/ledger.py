"""`troth ledger`: accounts and what is on them, what was posted, and whether the books are sound."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli import ledger_books
from troth.cli.acting import read
from troth.cli.filtering import After, Limit, check_limit, ends, told
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, StatementTimeout
from troth.cli.output import Record, as_text, cell, console, facts, show, table, title

if TYPE_CHECKING:
    from troth.ledger.model import Total
    from troth.store.tx import Tx
    from troth.view.ledger import (
        AccountLine,
        EntryLine,
        OverdueLine,
        RefusalLine,
        TransferLine,
    )

app = App(name="ledger", help="Look at accounts and transfers; verify, seal and export the books.")
ledger_books.add_to(app)

Code = Annotated[str, Parameter(name="ACCOUNT", help="The code of the account.")]
Before = Annotated[int | None, Parameter(help="The page before: the smallest number of this one.")]


@app.command
def accounts(
    under: Annotated[
        str | None, Parameter(help="This account and those below it in the tree.")
    ] = None,
    /,
    *,
    tenant: Annotated[str | None, Parameter(help="Only of this tenant.")] = None,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List accounts by their codes, with what is posted and what is available on each.

    Example: troth ledger accounts assets:stripe
    """
    from troth.view import ledger as view

    check_limit(limit)
    which = told(view.AccountFilter, under=under, tenant=tenant)
    page = read(
        connection,
        statement_timeout,
        lambda tx: view.accounts(tx, connection.schema, which, after=after, limit=limit),
    )
    show([_account(line, output) for line in page.rows], output, "No accounts.")
    ends(page, output)


@app.command(name="show")
def show_(
    code: Code,
    /,
    *,
    limit: Limit = 20,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show one account: what it is, what is on it, and its latest entries.

    Example: troth ledger show assets:stripe
    """
    from troth.view import ledger as view

    check_limit(limit)

    async def look(tx: Tx) -> tuple[AccountLine, tuple[EntryLine, ...]]:
        found = await view.account(tx, connection.schema, code)
        return found, await view.entries(tx, connection.schema, code, limit=limit)

    found, latest = read(connection, statement_timeout, look)
    lines = [_entry(each, found.currency, output) for each in latest]
    if output != "table":
        print(
            as_text(
                {**_account(found, output), "entries": lines}, indent=2 if output == "json" else 0
            )
        )
        return
    out = console()
    facts(
        out,
        {
            "account": found.code, "side": found.side, "limit": _limit(found), "tenant": found.tenant,
            "opened": found.opened_at, "closed": found.closed_at, "posted": found.posted,
            "available": found.available, "unfolded": found.unfolded or None,
        },
    )  # fmt: skip
    if lines:
        title(out, "entries")
        out.print(table(lines))


@app.command
def entries(
    code: Code,
    /,
    *,
    limit: Limit = 50,
    before: Before = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List the entries of one account, the latest first, each with the balance after it.

    Example: troth ledger entries assets:stripe -o jsonl
    """
    from troth.view import ledger as view

    check_limit(limit)

    async def look(tx: Tx) -> tuple[AccountLine, tuple[EntryLine, ...]]:
        found = await view.account(tx, connection.schema, code)
        return found, await view.entries(tx, connection.schema, code, before=before, limit=limit)

    found, page = read(connection, statement_timeout, look)
    show([_entry(each, found.currency, output) for each in page], output, "No entries.")
    _more(page, limit, page[-1].version if page else 0, output)


@app.command
def transfers(
    id_: Annotated[
        str | None,
        Parameter(name="ID", help="The id of one transfer, or the text it was made from."),
    ] = None,
    /,
    *,
    limit: Limit = 50,
    before: Before = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> int:
    """List transfers, the latest first; or one, also if it was refused.

    Example: troth ledger transfers invoice:7
    """
    from troth.view import ledger as view

    check_limit(limit)
    wanted = None if id_ is None else _id(id_)

    async def look(tx: Tx) -> tuple[tuple[TransferLine, ...], RefusalLine | None]:
        page = await view.transfers(tx, connection.schema, id_=wanted, before=before, limit=limit)
        refused = wanted is not None and not page
        return page, await view.refusal(
            tx, connection.schema, wanted
        ) if refused and wanted else None

    page, refusal = read(connection, statement_timeout, look)
    if refusal is not None:
        show([_refusal(refusal)], output, "")
        return 0
    show([_transfer(each, output) for each in page], output, "No transfers.")
    _more(page, limit, page[-1].seq if page else 0, output)
    return 0


@app.command
def trial(
    *,
    at: Annotated[str | None, Parameter(help="Of what was booked by a time (2026-11-01).")] = None,
    effective_at: Annotated[
        str | None,
        Parameter(help="Of what was posted and counted by a time; without what is held."),
    ] = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 60.0,
) -> int:
    """Show the trial balance: debits and credits of each currency. Exit code 1: they are not equal.

    Example: troth ledger trial --at 2026-11-01
    """
    from troth.ledger import Ledger
    from troth.view import ledger as view

    if at is not None and effective_at is not None:
        raise UsageError("--at or --effective-at: by when it was booked, or by when it counts")
    booked, counted = (
        ledger_books.moment("--at", at),
        ledger_books.moment("--effective-at", effective_at),
    )
    ledger = Ledger()
    ledger.bind(connection.schema)

    async def look(tx: Tx) -> Sequence[view.TotalLine | Total]:
        if booked is None and counted is None:
            return await view.totals(tx, connection.schema)
        return await ledger.trial_balance(tx, at=booked, effective_at=counted)

    lines = read(connection, statement_timeout, look)
    records = [
        {
            "currency": each.currency, **({"accounts": each.accounts} if isinstance(each, view.TotalLine) else {}),
            **{
                name: view.written(int(minor), each.currency) if output == "table" else int(minor)
                for name, minor in (
                    ("debits_posted", each.debits_posted), ("credits_posted", each.credits_posted),
                    ("debits_pending", each.debits_pending), ("credits_pending", each.credits_pending),
                )
            },
            "balanced": each.is_balanced if output != "table" else "yes" if each.is_balanced else "NO",
        }
        for each in lines
    ]  # fmt: skip
    show(records, output, "Nothing was posted.")
    return 0 if all(each.is_balanced for each in lines) else 1


@app.command
def overdue(
    *,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List the clearing accounts that should be back at zero by now: whose, in which flow, how much is left.

    Example: troth ledger overdue -o json
    """
    from troth.cli.attention import overdue_for_people
    from troth.view import ledger as view

    check_limit(limit)
    page = read(
        connection,
        statement_timeout,
        lambda tx: view.overdue(tx, connection.schema, after=after, limit=limit),
    )
    shown = overdue_for_people if output == "table" else _overdue
    show([shown(line) for line in page.rows], output, "Nothing is overdue.")
    ends(page, output)


def _overdue(each: OverdueLine) -> Record:
    return {**dataclasses.asdict(each), "customer": each.customer}


def _id(text: str) -> UUID:
    from troth.ledger.rules import transfer_id

    try:
        return UUID(text)
    except ValueError:
        return transfer_id(text)


def _more(page: Sequence[Any], limit: int, last: int, output: str) -> None:
    if len(page) == limit and last > 1 and output == "table":
        print(f"There may be more: --before {last}", file=sys.stderr)


def _limit(each: AccountLine) -> str | None:
    if each.limit == "none":
        return None
    from troth.view.ledger import written

    least = "" if each.minimum is None else f" {written(each.minimum, each.currency)}"
    return each.limit.replace("_", " ") + least


def _account(each: AccountLine, output: str) -> Record:
    if output != "table":
        return dataclasses.asdict(each)
    return {
        "account": each.code, "side": each.side, "posted": each.posted, "available": each.available,
        "limit": _limit(each), "tenant": each.tenant, "entries": each.version, "closed": each.closed_at,
    }  # fmt: skip


def _entry(each: EntryLine, currency: str, output: str) -> Record:
    from troth.view.ledger import written

    if output != "table":
        return dataclasses.asdict(each)
    net = each.debits_posted - each.credits_posted
    return {
        "": each.version, "booked": each.booked_at, "kind": each.kind, "side": each.side,
        "posted": written(each.posted, currency), "pending": written(each.pending, currency) if each.pending else None,
        "debits less credits": written(int(net), currency), "transfer": each.key or each.transfer, "code": each.code,
    }  # fmt: skip


def _transfer(each: TransferLine, output: str) -> Record:
    from troth.view.ledger import written

    if output != "table":
        return dataclasses.asdict(each)
    legs = ", ".join(
        f"{'debit' if minor > 0 else 'credit'} {cell(code)} {written(abs(minor), currency)}"
        for code, currency, minor in each.legs
    )
    return {
        "seq": each.seq, "id": each.id, "key": each.key, "kind": each.kind, "booked": each.booked_at,
        "effective": each.effective_at, "legs": legs, "code": each.code, "about": each.about,
    }  # fmt: skip


def _refusal(each: RefusalLine) -> Record:
    return {
        "id": each.id, "key": each.key, "refused": each.outcome, "at": each.refused_at,
        "asked": as_text(each.asked),
    }  # fmt: skip
