"""The books beside another program's arithmetic: hledger works out every balance from an export, and has to come to the same."""

from __future__ import annotations

import asyncio
import csv
import io
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Final

from troth.base.currencies import Currency
from troth.base.errors import UsageError
from troth.ledger.export import export, hledger_name, journal_for
from troth.ledger.verify import MOST_TOLD, Checked, Finding
from troth.store.queries import load
from troth.store.tx import Tx

CHECK: Final = "hledger"
MEANS: Final = "hledger comes to the same balances by an export"
_PAGE: Final = 2000
_BALANCES: Final = ("balance", "-N", "-E", "--flat", "-O", "csv", "--layout=bare")


async def against_hledger(tx: Tx, schema: str, program: str = "hledger") -> Checked:
    """Export the books, have hledger add them up, and compare each account's posted balance. Writes nothing to the database.

    *tx* is one snapshot (repeatable read). The export is a temporary file, a few hundred bytes for each transfer. Raises
    `UsageError` if there is no such program.
    """
    with tempfile.TemporaryDirectory(prefix="troth-books-") as directory:
        journal = Path(directory) / "books.journal"
        with journal.open("w") as file:
            async for piece in export(tx, schema, journal_for("hledger")):
                file.write(piece)
        code, printed, said = await _run(program, "-f", str(journal), *_BALANCES)
    if code:
        problem = f"exit code {code}: {' '.join(said.split())[:500]}"
        return Checked(CHECK, 1, (Finding(CHECK, "the export", problem),))
    theirs: dict[tuple[str, str], Decimal] = {}
    for row in csv.DictReader(io.StringIO(printed)):
        theirs[row["account"], row["commodity"]] = Decimal(row["balance"])
    return await _compared(tx, schema, theirs)


async def _run(program: str, *arguments: str) -> tuple[int, str, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except (FileNotFoundError, PermissionError):
        msg = f"there is no program {program}: install hledger (Debian: apt-get install hledger), or leave --against out"
        raise UsageError(msg) from None
    printed, said = await process.communicate()
    return process.returncode or 0, printed.decode(), said.decode(errors="replace")


async def _compared(tx: Tx, schema: str, theirs: dict[tuple[str, str], Decimal]) -> Checked:
    wrong, told, after = 0, [], 0
    q = load("troth.ledger", schema, "against.sql")
    while rows := await (await tx.execute(q.posted, {"after": after, "limit": _PAGE})).fetchall():
        for _, code, currency, net in rows:
            ours = Decimal(net).scaleb(-Currency.of(currency).exponent)
            found = theirs.pop((hledger_name(code), currency), Decimal(0))
            if found != ours:
                wrong += 1
                told.append(Finding(CHECK, code, f"debits less credits are {ours} {currency}, and {found} by hledger"))  # fmt: skip
        after = rows[-1][0]
    for (name, currency), found in theirs.items():
        if found:
            wrong += 1
            told.append(Finding(CHECK, name, f"hledger has {found} {currency} on an account that there is not"))  # fmt: skip
    return Checked(CHECK, wrong, tuple(told[:MOST_TOLD]))
