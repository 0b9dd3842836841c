"""`manage.py troth …`: the command line of troth, on the project's database."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from django.core.management.base import BaseCommand

from troth.integrations.django_app.project import the_troth

PROGRAM = "troth.integrations.django_app:troth"
_ABOUT_A_PROGRAM = {"worker", "dev", "check"}
# A program of its own: the command line asks nothing of Django, and its workers are processes that are started anew.
_MAIN = "from troth.cli.main import main; main()"


class Command(BaseCommand):  # type: ignore[misc]  # Django ships no types
    """Passes on what it is given; the URL travels in the environment, where no list of processes shows it."""

    help = "The command line of troth, on this project's database: manage.py troth run list"

    def run_from_argv(self, argv: list[str]) -> None:
        """Without Django's own options: `--help` is that of troth."""
        self.handle(tokens=argv[2:])

    def handle(self, *_: Any, tokens: Sequence[str] = (), **__: Any) -> NoReturn:
        """Become that program, so that signals to this process are signals to it."""
        troth = the_troth()
        environment = {
            **os.environ,
            "TROTH_SCHEMA": troth.schema,
            "TROTH_DIRECTORY": str(troth.directory),
        }
        if troth.url:
            environment["TROTH_DATABASE_URL"] = troth.url
        sys.stdout.flush()
        os.execve(  # noqa: S606  (what the user of the shell has typed)
            sys.executable, [sys.executable, "-c", _MAIN, *arguments(tokens)], environment
        )


def arguments(tokens: Sequence[str]) -> list[str]:
    """With the project's program, where a command is about one."""
    if tokens and tokens[0] in _ABOUT_A_PROGRAM and not {"-h", "--help"} & set(tokens):
        return [tokens[0], PROGRAM, *tokens[1:]]
    return list(tokens)
