"""Keeps a verdict: compares what its test asks for with the one before, composes the document, and puts it on the shelf."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from troth.lab.show.compose import compose
from troth.lab.show.document import Document
from troth.lab.show.shelf import HOME, Shelf
from troth.lab.show.weaker import weakened
from troth.lab.verdict import Verdict


def keep(verdict: Verdict, root: Path) -> Document:
    """The verdict's document, which is now the latest of its scenario under `root`.

    A test that was refused says nothing about what it asks for; it is compared with the verdict before.
    """
    shelf = Shelf(root / HOME)
    before = shelf.last(verdict.test or verdict.title)
    less: tuple[str, ...] = ()
    if before is not None and verdict.asked.promises:
        less = weakened(before.asked, verdict.asked)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    document = compose(verdict, made=made, weakened=less)
    shelf.put(document)
    return document
