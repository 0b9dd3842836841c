"""The bank's statements on their way to us: one is late, and comes twice then, and nobody says so. Only its neighbours show it."""

import asyncio
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psycopg

from examples.signup.bank import numbered
from examples.signup.demo import reconcile
from examples.signup.demo.board import Board
from examples.signup.demo.reconcile import Reconciled
from examples.signup.demo.stage import BANK_ACCOUNT, Stage, StageError
from examples.signup.demo.waiting import until

_READ = "SELECT count(*) FROM signup.bank_statement"


@dataclass(frozen=True)
class Post:
    """What came of the bank's statements: how many there are, which was late, and what was found while it was missing."""

    issued: int
    late: str | None = None
    missed: Reconciled | None = None

    @property
    def holds(self) -> bool:
        """That one was missing was noticed, and nothing was called clean without it."""
        if self.missed is None:
            return self.late is None
        kinds = {each.kind for each in self.missed.breaks}
        return not self.missed.holds and "statement_arithmetic" in kinds


async def deliver(stage: Stage, board: Board, *, faults: bool) -> Post:
    """Bring the statements to the service, and have them read. With *faults*, one is late, and comes twice."""
    issued = [name for _, name in numbered(each.name for each in stage.bank_out.iterdir())]
    late = most_entries(stage.bank_out, issued) if faults else None
    bring(stage, [name for name in issued if name != late])
    if late is None:
        await read_statements(stage)
        return Post(len(issued))
    await read_statements(stage)
    [missed] = await reconcile.run(stage.database_url, ["bank"])
    for each in missed.breaks:
        board.say(f"{missed.name}: {each.kind}: {each.note}")
    bring(stage, [late])
    bring(stage, [late], suffix=".again")
    await read_statements(stage)
    board.say(f"{len(issued)} statements are read; the one that was missing came twice")
    return Post(len(issued), late, missed)


def most_entries(directory: Path, issued: Collection[str]) -> str | None:
    """The statement that is missed most; None if none has an entry between others."""
    entries = {name: (directory / name).read_text().count("<Ntry>") for name in issued}
    between = list(issued)[1:-1]
    found = max(between, key=lambda name: entries[name], default=None)
    return found if found and entries[found] else None


def bring(stage: Stage, names: Collection[str], *, suffix: str = "") -> None:
    """Copy statements into the directory of the service, each whole or not at all."""
    for name in names:
        path = Path(name)
        part = stage.statements / f"{name}.part"
        shutil.copyfile(stage.bank_out / name, part)
        part.rename(stage.statements / f"{path.stem}{suffix}{path.suffix}")


async def read_statements(stage: Stage) -> None:
    """What an operator types who does not want to wait for the clock, and then the work of a worker."""
    troth = Path(sys.executable).with_name("troth")
    command = ["schedule", "run", "read_statements", "--note", "the day ends"]
    asked = await asyncio.create_subprocess_exec(
        *(str(troth), *command, "--database-url", stage.database_url),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    _, said = await asked.communicate()
    if asked.returncode:
        raise StageError(f"the statements cannot be read: {said.decode().strip()}")
    there = len(list(stage.statements.glob(f"*-{BANK_ACCOUNT}-*.xml")))
    async with await psycopg.AsyncConnection.connect(
        stage.database_url, autocommit=True
    ) as database:

        async def done() -> bool:
            found = await (await database.execute(_READ)).fetchone()
            return found is not None and found[0] == there

        await until(done, "the bank's statements are read")
