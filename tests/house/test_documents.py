"""Documents do not lie: links lead somewhere, examples are files that run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import ROOT, SOURCE, files, files_in, short
from tools import examples

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
PATH = re.compile(r"`([\w.+-]+/(?:[\w.+/-]*))`")
PLACEHOLDER = re.compile(r"NNNN|TYPE")
MADE = ("dist/", "troth/")  # by a build, by the embedded server
ELSEWHERE = ("http://", "https://", "mailto:")

DOCUMENTS = [path for path in files() if path.suffix == ".md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=short)
def test_links_lead_somewhere(document: Path) -> None:
    broken = [link for link in links(document) if not resolves(document, link)]
    assert not broken, f"{short(document)} links to what is not there: {broken}"


def links(document: Path) -> Iterator[str]:
    for page, picture in LINK.findall(FENCED.sub("", document.read_text())):
        link = page or picture
        if not link.startswith(ELSEWHERE):
            yield link


def resolves(document: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (document.parent / name).resolve() if name else document
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(target)


def anchors(document: Path) -> set[str]:
    """The anchors that a forge makes of the headings: lower case, hyphens, no punctuation."""
    headings = HEADING.findall(FENCED.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=short)
def test_python_in_documents_is_a_file_that_is_tested(document: Path) -> None:
    problems = examples.problems(document)
    assert not problems, f"{problems}\n(`python tools/examples.py` copies files into documents)"


@pytest.mark.parametrize("document", DOCUMENTS, ids=short)
def test_paths_in_documents_exist(document: Path) -> None:
    text = FENCED.sub("", document.read_text())
    gone = [path for path in PATH.findall(text) if not is_made_or_there(path)]
    assert not gone, f"{short(document)} speaks of files that are not there: {gone}"


def is_made_or_there(path: str) -> bool:
    if path.lstrip("./").startswith(MADE) or PLACEHOLDER.search(path):
        return True
    return any((folder / path).exists() for folder in (ROOT, SOURCE))


def test_every_decision_is_numbered_once() -> None:
    decisions = [path.name for path in files_in(ROOT / "docs" / "decisions", ".md")]
    numbered = sorted(name for name in decisions if name[0].isdigit())
    numbers = [int(name.split("-")[0]) for name in numbered]
    assert numbers[0] == 0, "0000 is the template"
    assert len(set(numbers)) == len(numbers), f"a number stands for one decision: {numbered}"


def test_every_change_fragment_has_a_known_type() -> None:
    known = {"promise", "feature", "fix", "migration", "internal"}
    pattern = re.compile(r"\+[a-z0-9-]+\.(" + "|".join(sorted(known)) + r")\.md")
    wrong = [
        path.name
        for path in files_in(ROOT / "changes", ".md")
        if path.name != "README.md" and not pattern.fullmatch(path.name)
    ]
    assert not wrong, f"name a fragment +what-changed.TYPE.md, TYPE one of {sorted(known)}: {wrong}"
