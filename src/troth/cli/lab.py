"""`troth lab`: verdicts that were kept, told again as text, as a page, as JSON, or for a coding assistant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from troth.cli.output import show

if TYPE_CHECKING:
    from troth.lab.show.document import Counterexample, Document

app = App(name="lab", help="What the lab has found: read it again, as text or as a page.")

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
