"""The root of the command line: which nouns there are, and what becomes of errors.

Help of the root is a table in this file, so that it costs nothing and works in an installation without the extra
`cli`. A noun is imported when it is used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from troth.cli.failure import DEBUG_VARIABLE, USAGE, fail

if TYPE_CHECKING:
    from cyclopts import App

NOUNS = {
    "access": "Who may: people, sessions, API keys, and why something was decided.",
    "attention": "Look at what waits for a person.",
    "audit": "Who did what, and what waits for a second person.",
    "check": "Everything that is wrong with a program, before you deploy it.",
    "config": "Every setting: its value, where that comes from, what it means.",
    "console": "See and act in a browser.",
    "db": "Bring the schema up to date and look at its state.",
    "dev": "A database, the console, and a worker that follows your changes.",
    "doctor": "What is wrong with an installation, and what to do about it.",
    "effect": "Look at effects that somebody must settle, and settle them.",
    "find": "Where an id, a key or a name leads.",
    "init": "Write a small working project, with a test.",
    "inbox": "Look at events that came in, and put them back.",
    "lab": "What crashes, lost answers and retries do to a backend.",
    "ledger": "Look at accounts and transfers; verify, seal and export the books.",
    "machine": "Look at the objects of machines, and draw machines.",
    "outbox": "Look at events on their way out, and send them again.",
    "provider": "Look at the providers that effects call.",
    "reconcile": "Compare our books with theirs; explain what differs; close periods.",
    "replay": "Recorded runs against your code, before you deploy it.",
    "request": "Look at idempotent requests and their answers.",
    "run": "Look at runs, and act on them.",
    "schedule": "Look at schedules; pause them, run them now, make up for what was missed.",
    "worker": "Run the processes that execute runs, and look at them.",
}

_COMMANDS = "\n".join(f"  {noun:10}{promise}" for noun, promise in NOUNS.items())
HELP = f"""\
Usage: troth COMMAND ...

Durable, honest backend operations on PostgreSQL.

Commands:
{_COMMANDS}

Options:
  -h, --help   This text; after a command, its own.
  --version    The version of troth.
  --debug      Show errors with their tracebacks (also: TROTH_DEBUG=1).

Which database: --database-url of a command, then TROTH_DATABASE_URL, then libpq's PG* variables, then an embedded
PostgreSQL in ./.troth/. Colours: NO_COLOR turns them off.

Exit codes: 0 it did its work, 1 it found a problem, 2 it was asked for something that cannot be.

Example: troth dev shop.app:troth
"""
ADVICE = "troth: the command line needs more packages: pip install 'troth[cli]'"
_HELP_WORDS = frozenset({"--help", "-h"})


def main() -> None:
    """The program `troth`."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `troth run list | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code."""
    tokens = [token for token in arguments if token != "--debug"]  # noqa: S105
    if len(tokens) < len(arguments):
        os.environ[DEBUG_VARIABLE] = "1"
    if not tokens or tokens[0] in _HELP_WORDS:
        print(HELP, end="")
        return 0
    if tokens == ["--version"]:
        print(_version())
        return 0
    try:
        root = _root()
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        return _without_packages(tokens)
    return _call(root, tokens)


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("troth")
    except importlib.metadata.PackageNotFoundError:
        return "source"


def _root() -> App:
    import rich  # noqa: F401  (what the commands print with)
    from cyclopts import App

    root = App(name="troth", help="Durable, honest backend operations on PostgreSQL.")
    for noun in NOUNS:
        root.command(f"troth.cli.{noun}:app", name=noun)
    return root


def _without_packages(tokens: Sequence[str]) -> int:
    """An installation without the extra `cli`: say what a command is for, and what it lacks."""
    if _HELP_WORDS & set(tokens) and tokens[0] in NOUNS:
        print(f"Usage: troth {tokens[0]} ...\n\n{NOUNS[tokens[0]]}\n\n{ADVICE}")
        return 0
    print(ADVICE, file=sys.stderr)
    return USAGE


def _call(root: App, tokens: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    try:
        code = root(tokens, exit_on_error=False, result_action="return_value")
    except CycloptsError:  # told by cyclopts, with the command that it concerns
        return USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # see main()
        return 0
    except Exception as error:  # noqa: BLE001  (the one place where errors become lines and codes)
        return fail(error)
    return code if isinstance(code, int) else 0
