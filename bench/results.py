"""The page of figures: each table stands between marks, and is put there by the command that has measured it."""

import re
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def write(mark: str, table: str) -> None:
    """Put a table into the page, where the one before it was; at the end, if there was none."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    text = RESULTS.read_text(encoding="utf-8")
    section = f"{begin}\n{table.rstrip()}\n{end}"
    if begin in text:
        text = re.sub(f"{begin}.*{end}", lambda _: section, text, flags=re.DOTALL)
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    RESULTS.write_text(text, encoding="utf-8")
