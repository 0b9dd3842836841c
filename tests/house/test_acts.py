"""People act through the desk, and there is no way around it: who holds a transaction of an operator gives it to the desk."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import ROOT, SOURCE, files_in, short
from troth.command.acts import ACTS

ABOVE = [SOURCE / "cli", SOURCE / "console"]  # where people act
DESK = SOURCE / "command" / "desk.py"
# What opens transactions and connections, for commands and for pages.
DOORS = {SOURCE / "cli" / "acting.py", SOURCE / "console" / "database.py"}
# What opens a transaction to write in, and what may be done with a connection that is open.
BEGINS = {"beginning", "acting", "transaction_async", "transaction_blocking"}
HANDED_TO = {"beginning", "acted", "reading"}


def files() -> list[Path]:
    return [path for folder in ABOVE for path in files_in(folder, ".py")]


def test_every_act_is_done_by_somebody() -> None:
    """An act in the table that nobody carries out is a promise of nothing."""
    said = {
        node.value
        for path in [*files_in(SOURCE / "cli", ".py"), DESK]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    missing = sorted(set(ACTS) - said)
    assert not missing, f"write a command that carries these out, or take them off: {missing}"


def test_every_act_is_tried_by_a_test() -> None:
    """Where it is done is a test's business; that somebody looks is the house's."""
    tests = "\n".join(
        path.read_text()
        for path in files_in(ROOT / "tests", ".py")
        if path.name not in {"test_acts.py", "test_spelling.py"}
    )
    untried = sorted(name for name in ACTS if f'"{name}"' not in tests)
    assert not untried, f"write a test that does these, and looks into the audit: {untried}"


@pytest.mark.parametrize("path", files(), ids=short)
def test_a_transaction_of_an_operator_is_given_to_the_desk(path: Path) -> None:
    around = list(ways_around(path.read_text(), door=path in DOORS))
    assert not around, (
        f"{short(path)} acts past the desk: what is done in a transaction of `beginning` or `acting` goes through"
        f" desk.carry_out, which checks and records it; what only looks uses `read` or `preview`: {around}"
    )


def ways_around(source: str, *, door: bool = False) -> Iterator[str]:
    """Uses of a transaction, or of a connection, that are neither the desk's nor harmless."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncWith | ast.With):
            for item in node.items:
                if named(item.context_expr) in BEGINS:
                    yield from misused(node, item, parents, door=door)
        if isinstance(node, ast.Attribute) and node.attr == "execute":
            yield f"line {node.lineno}: a statement of its own"
        if isinstance(node, ast.Name) and node.id == "opened" and isinstance(node.ctx, ast.Load):
            call = parents[node]
            fine = isinstance(call, ast.Call) and named(call) in HANDED_TO
            if not fine and not (door and isinstance(call, ast.Yield | ast.Await | ast.Call)):
                yield f"line {node.lineno}: an open connection is used"


def misused(
    block: ast.AsyncWith | ast.With,
    item: ast.withitem,
    parents: dict[ast.AST, ast.AST],
    *,
    door: bool,
) -> Iterator[str]:
    if not isinstance(item.optional_vars, ast.Name):
        if not door:
            yield f"line {block.lineno}: a transaction that the desk is not given"
        return
    tx = item.optional_vars.id
    deeds = {
        argument.id
        for call in ast.walk(block)
        if isinstance(call, ast.Call) and of_desk(call)
        for argument in call.args
        if isinstance(argument, ast.Name)
    }
    for node in ast.walk(block):
        if isinstance(node, ast.Name) and node.id == tx and isinstance(node.ctx, ast.Load):
            above = list(ancestors(node, block, parents))
            if not any(
                (isinstance(each, ast.Call) and of_desk(each))
                or (isinstance(each, ast.AsyncFunctionDef) and each.name in deeds)
                for each in above
            ):
                yield f"line {node.lineno}: {tx} is used outside of the desk"


def named(expression: ast.AST) -> str | None:
    """The last part of what a call calls."""
    match expression:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name
        case _:
            return None


def of_desk(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="desk"), attr="carry_out" | "set_rule" | "withdraw"):
            return True
        case _:
            return False


def ancestors(node: ast.AST, top: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    while node is not top:
        node = parents[node]
        yield node


AROUND = {
    "the deed itself": """
async def do(opened, url):
    async with beginning(opened) as tx:
        await cancel(tx, run)
""",
    "beside the desk": """
async def do(opened, url):
    async with beginning(opened) as tx:
        await desk.carry_out(tx, "s", who, "a", "b", {}, lambda: cancel(tx, run))
        await cancel(tx, run)
""",
    "a function that the desk is not given": """
async def do(opened, url):
    async with site.reach.acting() as tx:
        async def deed():
            await cancel(tx, run)
        await deed()
""",
    "a connection": """
async def do(opened, url):
    await cancel(opened, run)
""",
    "a transaction of its own": """
async def do(opened, url):
    async with transaction_async(opened, "read committed"):
        await cancel(opened, run)
""",
    "a statement": """
async def do(opened, url):
    await opened.execute("DELETE FROM run")
""",
}
THROUGH = """
async def do(opened, url):
    async with beginning(opened) as tx:
        async def deed():
            return await cancel(tx, run)
        await desk.carry_out(tx, "s", who, "a", "b", {}, lambda: cancel(tx, run))
        await desk.carry_out(tx, "s", who, "a", "b", {}, deed)
    async with reading(opened, schema) as tx:
        await look(tx)
"""


@pytest.mark.parametrize("source", AROUND.values(), ids=AROUND)
def test_the_rule_finds_ways_around(source: str) -> None:
    assert list(ways_around(source))


def test_the_rule_leaves_the_desk_alone() -> None:
    assert list(ways_around(THROUGH)) == []
