"""`troth lab`: what crashes, lost answers and retries do to a backend; and what was found, told again in every form."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli.output import show

if TYPE_CHECKING:
    from troth.lab.show.document import Counterexample, Document

app = App(name="lab", help="What crashes, lost answers and retries do to a backend.")

Which = Annotated[
    str,
    Parameter(
        help="A file with a verdict; or the beginning of a verdict's or a counterexample's id; or a test."
    ),
]
Shelved = Annotated[
    Path,
    Parameter(name="--shelf", help="Where verdicts are kept: .troth/lab below where pytest ran."),
]
_SHELF = Path(".troth") / "lab"


_WORST = ("DISAGREED", "REFUSED", "VIOLATED", "BOUNDED", "HOLDS")
_STATUS = {"HOLDS": 0, "VIOLATED": 1, "BOUNDED": 2, "REFUSED": 3, "DISAGREED": 4}


@app.command
def prove(
    tests: Annotated[
        tuple[str, ...], Parameter(help="Files or names of tests, as for pytest.")
    ] = (),
    /,
    *,
    strict: Annotated[bool, Parameter(negative="", help="BOUNDED fails, too.")] = False,
) -> int:
    """Run the tests that use the fixture `lab`, and say the worst of their verdicts.

    Exit code 0: every promise HOLDS (without --strict also: BOUNDED), 1: VIOLATED, 2: BOUNDED, with --strict, 3: REFUSED, or the tests
    could not be run, 4: real processes disagree with the search.

    Example: troth lab prove tests/test_signup.py
    """
    word = _run(tests)
    return 0 if word == "BOUNDED" and not strict else _STATUS[word]


@app.command
def replay(
    name: Annotated[
        str, Parameter(name="ID", help="The id of a counterexample, as its report says.")
    ],
    /,
) -> int:
    """Carry out one history that was found before, in real processes that really die.

    Exit code 0: it breaks nothing any more, 1: it still does, 3: it cannot be carried out, 4: the code goes another way now.

    Example: troth lab replay 1f3a9c20
    """
    file = Path(".troth-lab") / f"{name}.json"
    try:
        test = str(msgspec.json.decode(file.read_bytes())["test"])
    except OSError:
        raise UsageError(
            f"nothing is kept under {name}: there is no {file} in this directory"
        ) from None
    word = _run((test, f"--lab-replay={name}"))
    return 0 if word == "BOUNDED" else _STATUS[word]


@app.command(name="list")
def list_(*, shelf: Shelved = _SHELF, output: Literal["table", "json", "jsonl"] = "table") -> None:
    """List the latest verdict of every scenario.

    Example: troth lab list
    """
    from troth.lab.show.shelf import Shelf

    kept = Shelf(shelf)
    latest = [one for name in kept.scenarios() if (one := kept.last(name)) is not None]
    show(
        [
            {
                "id": one.id,
                "verdict": one.verdict,
                "scenario": one.key,
                "made": one.made,
                "said": one.summary,
            }
            for one in latest
        ],
        output,
        f"No verdict is kept in {shelf}. Run a test that uses the fixture `lab`.",
    )


@app.command
def report(
    which: Which,
    /,
    *,
    html: Annotated[Path | None, Parameter(help="Write a page to this file instead.")] = None,
    shelf: Shelved = _SHELF,
    output: Literal["text", "json"] = "text",
) -> None:
    """Show a verdict that was kept: as text, as JSON, or as one HTML file that needs nothing else.

    Example: troth lab report test_signup --html signup.html
    """
    from troth.lab.show.document import encode
    from troth.lab.show.page import page
    from troth.lab.show.terminal import text

    found, _ = _find(which, shelf)
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
        print(f"{html}: {found.verdict} {found.scenario}")
    elif output == "json":
        print(encode(found).decode(), end="")
    else:
        print(text(found))


@app.command
def explain(which: Which, /, *, shelf: Shelved = _SHELF) -> None:
    """Tell a coding assistant what is wrong, where, what would help, and what must not be changed.

    Example: troth lab explain 1f0c3a9e
    """
    from troth.lab.show.assistant import explain as explained

    print(explained(*_find(which, shelf)))


def _find(which: str, shelf: Path) -> tuple[Document, Counterexample | None]:
    from troth.lab.show.document import decode
    from troth.lab.show.shelf import Shelf

    file = Path(which)
    if file.is_file():
        return decode(file.read_bytes(), which), None
    return Shelf(shelf).find(which)


def _run(arguments: tuple[str, ...]) -> str:
    """The worst word that pytest came to."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:xdist",
            f"--lab-results={results}",
            *arguments,
        ]
        done = subprocess.run(command, check=False)  # noqa: S603  (the user's own tests)
        lines = results.read_bytes().splitlines() if results.exists() else []
    words = [str(msgspec.json.decode(line)["word"]) for line in lines]
    if not words:
        raise UsageError(
            f"no test came to a verdict of the lab (pytest ended with {done.returncode})"
        )
    if done.returncode not in {0, 1}:
        return "REFUSED"
    return min(words, key=_WORST.index)
