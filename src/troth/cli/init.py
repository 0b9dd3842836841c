"""`troth init`: a small project that works, to begin from."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

from cyclopts import App, Parameter

from troth.base.errors import UsageError

app = App(name="init")

# Where each template goes. They are texts, so that no tool takes them for modules or settings of troth's own.
FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
    "app.py": "app.py.txt",
    "bank.py": "bank.py.txt",
    "tests/test_app.py": "test_app.py.txt",
}
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@app.default
def init(
    directory: Annotated[Path, Parameter(help="Where; it is made if it is not there.")] = Path(),
    /,
    *,
    name: Annotated[
        str | None, Parameter(help="The project's name. Without it: that of the directory.")
    ] = None,
) -> None:
    """Write a small working project with a test: an order, a charge whose answer is lost, and what is done then.

    Nothing is overwritten: if one of its files is there, none is written.

    Example: troth init shop
    """
    root = directory.resolve()
    called = root.name if name is None else name
    if not _NAME.fullmatch(called) or called.lower() == "troth":
        msg = f"a project cannot be named {called!r}: say --name, of letters, digits, '-', '_' and '.', and not troth"
        raise UsageError(msg)
    there = [path for path in FILES if (root / path).exists()]
    if there:
        msg = f"{directory} has {', '.join(there)} already, and nothing is overwritten: name a directory of its own"
        raise UsageError(msg)
    try:
        for path, text in texts(called).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            with (root / path).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        msg = f"{error.filename or root} cannot be written: {error.strerror}"
        raise UsageError(msg) from None
    go = "" if root == Path.cwd() else f"cd {directory} && "
    print(f"{called} is in {root}. Run it, and its tests:\n\n  {go}python app.py\n  {go}pytest")


def texts(name: str) -> dict[str, str]:
    """The project's files, by their paths."""
    templates = files("troth.cli") / "project"
    return {
        path: Template((templates / template).read_text("utf-8")).substitute(name=name)
        for path, template in FILES.items()
    }
