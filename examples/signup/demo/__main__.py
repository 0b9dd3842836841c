"""People sign up while everything fails: `python -m examples.signup.demo`."""

import argparse
import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from rich.console import Console

from examples.signup.demo import (
    audit,
    day,
    evening,
    hearing,
    money,
    people,
    post,
    reconcile,
    show,
    trouble,
    truths,
)
from examples.signup.demo.board import ENDED, Board
from examples.signup.demo.people import Person
from examples.signup.demo.show import Result
from examples.signup.demo.stage import PRICES, Stage, StageError, make_directory
from examples.signup.reconciling import RECONCILIATIONS
from troth import TrothError

LOOK_S = 0.25
QUIET_S = 60.0
FAILED = 1
INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    people: int
    concurrency: int
    kills: int
    restarts: int
    workers: int
    lease: float
    effect_timeout: float
    faults: bool
    gap: bool
    keep: bool
    json: bool


def parse(arguments: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m examples.signup.demo", description=__doc__)
    add = parser.add_argument

    def number(name: str, default: int, told: str) -> None:
        add(name, type=int, metavar="N", default=default, help=f"{told} (default: {default})")

    def seconds(name: str, default: float, told: str) -> None:
        add(name, type=float, metavar="S", default=default, help=f"{told} (default: {default} s)")

    number("--people", 300, "how many sign up; every tenth clicks three times")
    number("--concurrency", 20, "how many at a time")
    number("--kills", 3, "how many workers are killed with runs in flight")
    number("--restarts", 1, "how often PostgreSQL is killed")
    number("--workers", 2, "how many workers there are at a time")
    seconds("--lease", 2.0, "a worker that is silent for longer is dead")
    seconds("--effect-timeout", 3.0, "an effect without an answer is unknown")
    add("--no-faults", dest="faults", action="store_false", help="provider and mailbox behave")
    add("--with-a-break", dest="gap", action="store_true", help="the bank forgets lines")
    add("--keep", action="store_true", help="keep the directory with data and logs")
    add("--json", action="store_true", help="the result as JSON; progress on standard error")
    return Options(**vars(parser.parse_args(arguments)))


async def demonstrate(options: Options, board: Board, stage: Stage) -> Result:
    """Let everybody sign up in the middle of the trouble, wait for the end of the day, and compare."""
    if options.faults:
        await trouble.misbehave(stage)
        board.say("provider and mailbox lose answers now and then")
    await stage.start_workers(options.workers)
    board.say(f"{options.workers} worker processes; a silent one is dead after {options.lease:g} s")
    board.say(f"effects give up after {options.effect_timeout:g} s (short, for quick takeovers)")
    crowd = people.crowd(options.people)
    troubles = trouble.schedule(options.people, kills=options.kills, crashes=options.restarts)
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(watch(stage, board)), group.create_task(stage.guard())]
        making = group.create_task(trouble.make_trouble(troubles, stage, board))
        await people.sign_everybody_up(
            crowd, stage.service_url, board, concurrency=options.concurrency
        )
        await making
        await quiet(stage, board)
        await day.end(stage, board, crowd, faults=options.faults, gap=options.gap)
        mail = await post.deliver(stage, board, faults=options.faults and not options.gap)
        for missing in await hearing.everything(stage):
            board.quarrels.append(f"the service has not heard of all: {missing}")
            board.say(board.quarrels[-1])
        names = [each.name for each in RECONCILIATIONS]
        names.remove("paid")  # nobody owes anything yet, and two empty lists prove nothing
        if not any(person.regrets for person in crowd):
            names.remove("refunds")
        reconciled = await reconcile.run(stage.database_url, names)
        for task in watching:
            task.cancel()
    board.faults = await trouble.struck(stage)
    refused = {person.email for person in crowd if person.refused}
    found = await truths.read(stage, {person.email: person.standing for person in crowd})
    verdict = audit.compare([person.email for person in crowd], found, refused)
    accounts = await money.read(stage, expected(crowd, gap=options.gap))
    return Result(verdict, accounts, reconciled, mail, options.gap)


def expected(crowd: Sequence[Person], *, gap: bool) -> money.Expected:
    """What money should have moved, after what people did."""

    def credits_of(*becoming: str) -> list[int]:
        return [evening.CREDIT_CENTS for person in crowd if person.payout in becoming]

    return money.Expected(
        paid=[PRICES[person.plan] for person in crowd if person.pays],
        refunded=[PRICES[person.plan] for person in crowd if person.regrets],
        credited=credits_of("arrives", "refused", "returned"),
        disbursed=credits_of("arrives", "returned"),
        refused=credits_of("refused"),
        returned=[] if gap else credits_of("returned"),
    )


async def watch(stage: Stage, board: Board) -> None:
    """Keep the count of runs by state fresh; while the database is away, the last one stays."""
    while True:
        with suppress(psycopg.OperationalError):
            board.states = await truths.states(stage.database_url)
        await asyncio.sleep(LOOK_S)


async def quiet(stage: Stage, board: Board) -> None:
    """Wait until no run is under way. What is, when patience ends, is found by the comparison."""
    with suppress(TimeoutError):
        async with asyncio.timeout(QUIET_S):
            while not set(board.states) <= ENDED:
                board.states = await truths.states(stage.database_url)
                await asyncio.sleep(LOOK_S)


def complaints(options: Options, board: Board, result: Result) -> list[str]:
    """Why this demo shows less than it should."""
    held = [held for _, held in board.kills]
    found = list(board.quarrels)
    if len(held) != options.kills or not all(held):
        found.append(f"{options.kills} kills with runs in flight were meant; these held {held}")
    if len(board.outages_s) != options.restarts:
        found.append(f"PostgreSQL was to be killed {options.restarts} times")
    named = {(one.name, each.kind, each.minor) for one in result.reconciled for each in one.breaks}
    forgotten = {("bank", "statement_arithmetic", abs(one.minor)) for one in result.accounts.open}
    if options.gap and not (forgotten and forgotten <= named):
        found.append("the lines that the bank forgot were to be found, and named")
    all_known = 0 < board.orders.total() < evening.LISTED
    if options.faults and all_known and not board.orders[show.DUPLICATE]:
        found.append("no order has come to the bank a second time")
    if not result.mail.holds:
        found.append("a statement was late, and nobody has missed it")
    if not options.gap and not result.explained:
        found.append("the money is not explained")
    return found


async def run(options: Options) -> int:
    """The whole demo, in a directory that is gone afterwards unless somebody has to look; its exit status."""
    main = asyncio.current_task()
    assert main is not None
    for kind in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(kind, main.cancel)
    console = Console(stderr=options.json)
    path = make_directory()
    try:
        status = await perform(options, path, console)
    except asyncio.CancelledError:
        console.print("Interrupted; everything is stopped.")
        status = INTERRUPTED
    if status == FAILED or options.keep:
        console.print(f"Logs are in {path / 'logs'}", soft_wrap=True)
    else:
        shutil.rmtree(path)
    return status


async def perform(options: Options, path: Path, console: Console) -> int:
    """Set the stage, play, and tell what came of it."""
    console.print(f"Starting PostgreSQL, provider, mailbox and service in {path}", soft_wrap=True)
    try:
        stage = Stage(path, lease_s=options.lease, effect_timeout_s=options.effect_timeout)
        async with stage:
            board = Board(options.people)
            with show.View(board, console):
                result = await demonstrate(options, board, stage)
        wrong = complaints(options, board, result)
        show.report(result, wrong, board, console)
        if options.json:
            print(json.dumps(show.as_json(result, wrong, board), indent=2))
        return FAILED if wrong or not result.verdict.holds else 0
    except* (StageError, TrothError, TimeoutError, httpx.HTTPError, psycopg.Error) as group:
        for error in causes(group):
            console.print(f"[bold red]The demo stopped:[/] {str(error) or repr(error)}")
    return FAILED


def causes(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """The exceptions in a group and in the groups in it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from causes(error)
        else:
            yield error


def main() -> None:
    sys.exit(asyncio.run(run(parse())))


if __name__ == "__main__":
    main()
