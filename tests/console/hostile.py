"""A text as somebody means harm by it, and what must not come of it in a page."""

from __future__ import annotations

import re

from tests.console.conftest import words

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}</bdi>\u202e\x01"


def require_harmless(page: str, path: str) -> None:
    """Fail if a page takes `HOSTILE` for anything but a text."""
    assert "<script>" not in page, path
    assert "<img" not in page, path
    assert "</bdi>\u202e" not in page, f"a name ended its own isolation: {path}"
    assert "\x01" not in words(page) + page.partition("</title>")[0], path
    assert not re.search(r"""<[^>]*[\s"']onerror\s*=""", page), f"a handler: {path}"
