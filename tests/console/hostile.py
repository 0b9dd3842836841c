"""A text as somebody means harm by it, and what must not come of it in a page."""

from __future__ import annotations

from html.parser import HTMLParser

from tests.console.conftest import words

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}</bdi>\u202e\x01"


class _Reader(HTMLParser):
    """Reads a page as a browser does, and finds what the console never has, whatever it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if tag == "img" or (tag == "script" and "src" not in names) or tag == "style":
            self.found.append(f"<{tag}>")
        self.found += [
            f"{tag} {name}" for name in names if name.startswith("on") or name == "style"
        ]


def require_harmless(page: str, path: str) -> None:
    """Fail if a page takes `HOSTILE` for anything but a text, or has what its policy forbids."""
    reader = _Reader()
    reader.feed(page)
    assert reader.found == [], path
    assert "<script>" not in page, path
    assert "<img" not in page, path
    assert "</bdi>\u202e" not in page, f"a name ended its own isolation: {path}"
    assert "\x01" not in words(page) + page.partition("</title>")[0], path
