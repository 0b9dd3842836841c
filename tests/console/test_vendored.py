"""What others wrote is what they published, and has its licence beside it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import troth.console

STATIC = Path(troth.console.__file__).parent / "static"
ROW = re.compile(r"^\| (\S+) \|[^|]*\|[^|]*\|([^|]*)\| ([0-9a-f]{64}) \|$", re.MULTILINE)


def test_vendored_files_are_those_that_are_listed():
    listed = {name: digest for name, _, digest in ROW.findall((STATIC / "VENDORED.md").read_text())}
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (STATIC / "vendor").iterdir()
    }
    assert found == listed


def test_every_vendored_file_names_a_licence_that_is_there():
    for name, licence, _ in ROW.findall((STATIC / "VENDORED.md").read_text()):
        if not name.endswith(".txt"):
            file = licence.strip().partition(", ")[2]
            assert (STATIC / "vendor" / file).exists(), name


def test_our_own_files_are_short_and_take_nothing_from_elsewhere():
    for name, most in (("app.css", 350), ("app.js", 200)):
        text = (STATIC / name).read_text()
        assert len(text.splitlines()) <= most, name
        assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//|\beval\(|new Function", text), (
            name
        )
