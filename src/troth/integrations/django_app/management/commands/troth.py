"""`manage.py troth …`: the command line of troth, on the project's database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand

from troth.integrations.django_app.project import the_troth

PROGRAM = "troth.integrations.django_app:troth"
_ABOUT_A_PROGRAM = {"worker", "dev", "check"}
# A program of its own: it asks nothing of Django, and its workers are processes that are started anew.
_MAIN = "from troth.cli.main import main; main()"


class Command(BaseCommand):  # type: ignore[misc]  # Django ships no types
    """Passes on what it is given; the URL travels in the environment, where no list of processes shows it."""

    help = "The command line of troth, on this project's database: manage.py troth run list"

    def run_from_argv(self, argv: list[str]) -> None:
        """Without Django's own options: `--help` is that of troth."""
        sys.exit(self.handle(tokens=argv[2:]))

    def handle(self, *_: Any, tokens: Sequence[str] = (), **__: Any) -> int:
        """Run it; its exit code."""
        troth = the_troth()
        environment = {**os.environ, "TROTH_SCHEMA": troth.schema}
        if troth.url:
            environment["TROTH_DATABASE_URL"] = troth.url
        return subprocess.run(  # noqa: S603  (what the user of the shell has typed)
            [sys.executable, "-c", _MAIN, *arguments(tokens)], env=environment, check=False
        ).returncode


def arguments(tokens: Sequence[str]) -> list[str]:
    """With the project's program, where a command is about one."""
    if tokens and tokens[0] in _ABOUT_A_PROGRAM and not {"-h", "--help"} & set(tokens):
        return [tokens[0], PROGRAM, *tokens[1:]]
    return list(tokens)
