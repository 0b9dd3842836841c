"""
Copy example files into the documents that show them.

A Python block in a document stands under a comment that names its file:

    <!-- examples/quickstart.py -->
    ```python
    ...
    ```

The block is the whole file. `<!-- part of examples/quickstart.py -->` shows some consecutive lines
of it, which are then only checked. Blocks without a comment are errors: nobody runs them.
"""

import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(?:<!-- (?P<part>part of )?(?P<file>\S+\.py) -->\n)?"
    r"^```python\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def problems(document: Path) -> list[str]:
    """What is wrong with the Python blocks of a document, as sentences."""
    return [
        problem
        for block in BLOCK.finditer(document.read_text())
        if (problem := problem_of(block)) is not None
    ]


def problem_of(block: re.Match[str]) -> str | None:
    """What is wrong with one block: no file named, none there, or another content."""
    first_line = block["code"].split("\n", 1)[0]
    if block["file"] is None:
        return f"the block that begins {first_line!r} names no file"
    path = ROOT / block["file"]
    if not path.is_file():
        return f"{block['file']} does not exist"
    source = path.read_text()
    if block["part"]:
        shown = block["code"].strip("\n")
        indents = {re.match(r" *", line)[0] for line in source.splitlines()}  # type: ignore[index]
        if not any(textwrap.indent(shown, indent) in source for indent in indents):
            return f"the block that begins {first_line!r} is not in {block['file']}"
    elif block["code"] != source:
        return f"the block differs from {block['file']}"
    return None


def refreshed(text: str) -> str:
    """The document with every whole-file block replaced by what its file says now."""

    def replace(block: re.Match[str]) -> str:
        if block["file"] is None or block["part"]:
            return block[0]
        source = (ROOT / block["file"]).read_text()
        return f"<!-- {block['file']} -->\n```python\n{source}```"

    return BLOCK.sub(replace, text)


def main() -> None:
    """Refresh the documents that are named, or README.md and everything in docs/."""
    documents = [Path(name) for name in sys.argv[1:]]
    for document in documents or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = document.read_text()
        if (fresh := refreshed(text)) != text:
            document.write_text(fresh)
            print(f"{document}: refreshed")


if __name__ == "__main__":
    main()
