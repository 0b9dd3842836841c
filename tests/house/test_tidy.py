"""The rules of the house that a formatter does not know. Each failure says what to do."""

import ast
import gc
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.sleeps import ALLOWED
from tests.house.tree import ROOT, SOURCE, files, files_in, short, texts

LONGEST_FILE_LINES = 450
ROOMS_WITHOUT_A_PROMISE = {"util", "utils", "helper", "helpers", "common", "misc", "tools"}

# Put together here, so that this file does not break its own rules.
LEFTOVER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
REGISTRIES = [
    ".".join(labels)
    for labels in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("crates", "io"),
    )
]
INDEX_OPTION = re.compile(r"--(extra-)?index-url|--find-links|^-[if] ", re.MULTILINE)
LOCK_FILES = re.compile(r"(uv|poetry|pdm|Pipfile|package|yarn|pnpm)[-.]?lock.*|pylock.*\.toml")


def test_source_files_are_short() -> None:
    long = {
        short(path): lines
        for path in files_in(SOURCE, ".py") + files_in(SOURCE, ".sql")
        if (lines := len(path.read_text().splitlines())) > LONGEST_FILE_LINES
    }
    assert not long, (
        f"a file tells one story in at most {LONGEST_FILE_LINES} lines; split by what the parts"
        f" promise, not by size: {long}"
    )


def test_every_module_is_named_after_what_it_promises() -> None:
    nameless = [short(path) for path in files_in(SOURCE, ".py") if named_for_nothing(path)]
    assert not nameless, (
        "nobody can say what does not belong into such a module; name it after what it does,"
        f" or move each function to the one who needs it: {nameless}"
    )


def named_for_nothing(path: Path) -> bool:
    names = {part.strip("_") for part in path.relative_to(SOURCE).with_suffix("").parts}
    return bool(names & ROOMS_WITHOUT_A_PROMISE)


def test_nothing_is_left_for_later() -> None:
    found = [
        f"{short(path)}:{number}: {line.strip()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if LEFTOVER.search(line)
    ]
    assert not found, (
        "a marker in the code is work that nobody sees; do it, drop it, or open an issue:\n"
        + "\n".join(found)
    )


def test_no_registry_is_named() -> None:
    found = [
        f"{short(path)} names {host}"
        for path, text in texts()
        for host in REGISTRIES
        if host in text
    ]
    assert not found, f"where packages come from is the reader's choice, not ours: {found}"


def test_requirements_name_no_index() -> None:
    found = [
        short(path)
        for path in files_in(ROOT / "requirements", ".txt")
        if INDEX_OPTION.search(path.read_text())
    ]
    assert not found, f"compile them with `make pins`, which leaves the index out: {found}"


def test_no_lock_file_is_kept() -> None:
    found = [short(path) for path in files() if LOCK_FILES.fullmatch(path.name)]
    assert not found, (
        "lock files carry the hosts of whoever wrote them; requirements/*.txt carry versions and"
        f" hashes: {found}"
    )


# ── tests wait for something ────────────────────────────────────────────────────────────────────


def test_no_test_sleeps_and_hopes() -> None:
    sleepers = {where: line for where, line in all_sleeps() if where not in ALLOWED}
    assert not sleepers, (
        "a sleep is too short on a busy machine and too long on every other; wait for the event"
        " itself, with a deadline. If this one is right, give it a reason in"
        f" tests/house/sleeps.py: {sleepers}"
    )


def test_every_allowed_sleep_still_exists() -> None:
    gone = set(ALLOWED) - {where for where, _ in all_sleeps()}
    assert not gone, f"take these out of tests/house/sleeps.py: {sorted(gone)}"


def all_sleeps() -> Iterator[tuple[str, int]]:
    for path in files_in(ROOT / "tests", ".py"):
        yield from sleeps_in(short(path), path.read_text())


def sleeps_in(name: str, source: str) -> Iterator[tuple[str, int]]:
    """Calls of time.sleep and asyncio.sleep with a literal other than 0: ("file::function", line)."""
    # CPython 3.11 counts recursion wrongly if a collection runs Python code in the middle of a parse
    # (python/cpython#106905), and what other tests left behind may be collected now.
    collecting = gc.isenabled()
    gc.disable()
    try:
        tree = ast.parse(source)
    finally:
        if collecting:
            gc.enable()
    own_names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "asyncio"}
        for alias in node.names
        if alias.name == "sleep"
    }

    def visit(node: ast.AST, scope: str) -> Iterator[tuple[str, int]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            scope = f"{scope}.{node.name}" if scope else node.name
        if isinstance(node, ast.Call) and is_sleep(node.func, own_names) and waits(node):
            yield f"{name}::{scope}", node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, scope)

    yield from visit(tree, "")


def is_sleep(function: ast.expr, own_names: set[str]) -> bool:
    match function:
        case ast.Attribute(value=ast.Name(id="time" | "asyncio"), attr="sleep"):
            return True
        case ast.Name(id=name):
            return name in own_names
        case _:
            return False


def waits(call: ast.Call) -> bool:
    match call.args:
        case [ast.Constant(value=value)]:
            return value != 0
        case _:
            return False


def test_the_sleep_rule_finds_sleeps() -> None:
    source = """
import asyncio, time
from time import sleep as nap

class TestIt:
    async def test_a(self):
        await asyncio.sleep(0.1)
        await asyncio.sleep(0)
        await workflow.sleep(3)
        await asyncio.sleep(delay)

def wait():
    time.sleep(1)
    nap(2)
"""
    assert list(sleeps_in("t.py", source)) == [
        ("t.py::TestIt.test_a", 7),
        ("t.py::wait", 13),
        ("t.py::wait", 14),
    ]
