"""The example of the page on money says what the page says."""

from __future__ import annotations

import subprocess
import sys

from tests.house.tree import ROOT


def test_it_prints_what_the_page_shows() -> None:
    command = [sys.executable, str(ROOT / "examples" / "money.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "12.99 EUR and 2.47 EUR tax are 15.46 EUR" in printed
    assert printed.count("refused:") == 3
    assert f"```\n{printed}```" in (ROOT / "docs" / "money.md").read_text()
