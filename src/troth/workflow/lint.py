"""What workflow code must not do, found by reading it: when it is decorated, and once more when its program is opened.

A name is followed to the object that it means, so a local variable named `time` is no clock, and an alias is one. Only
calls that are written down in workflow code itself are found, and, when the program is opened, in plain functions of the
same package that it calls. What cannot be followed is left alone: there are no false alarms, and no promise to find all.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import random
import sys
import types
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

from troth.base.errors import WorkflowCodeError
from troth.workflow.definition import StepDefinition

ALLOWED = "# troth: ok"

_STEP = "put it into a step"
_CLOCK = "use troth.now()"
_CHANCE = "use troth.random()"
_TIMER = "use troth.sleep, troth.timeout or the timeout= of receive"
_ORDER = "it gives sets, which have no order: use troth.first, troth.as_completed or asyncio.gather"
_ID = "use troth.uuid()"

# By the module that defines a function and its name there ('*': each); what to use instead.
_BY_NAME: dict[tuple[str, str], str] = {
    **{
        ("time", name): _CLOCK
        for name in (
            "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime",
        )
    },
    ("time", "sleep"): "use troth.sleep",
    ("asyncio.tasks", "sleep"): "use troth.sleep",
    ("asyncio.tasks", "wait_for"): _TIMER,
    ("asyncio.tasks", "wait"): _ORDER,
    ("asyncio.tasks", "as_completed"): _ORDER,
    ("asyncio.timeouts", "timeout"): _TIMER,
    ("asyncio.timeouts", "timeout_at"): _TIMER,
    ("asyncio.threads", "to_thread"): _STEP,
    ("uuid", "uuid1"): _ID,
    ("uuid", "uuid4"): _ID,
    ("uuid", "uuid6"): _ID,
    ("uuid", "uuid7"): _ID,
    ("posix", "urandom"): _CHANCE,
    ("nt", "urandom"): _CHANCE,
    ("secrets", "*"): "draw it in a step, so that it is recorded",
    ("io", "open"): _STEP,
    ("_io", "open"): _STEP,
    ("builtins", "input"): _STEP,
    ("subprocess", "*"): _STEP,
    ("socket", "socket"): _STEP,
    ("socket", "create_connection"): _STEP,
    ("urllib.request", "urlopen"): _STEP,
    ("random", "SystemRandom"): _CHANCE,
    ("threading", "Thread"): _STEP,
    ("threading", "Timer"): _STEP,
    ("concurrent.futures.thread", "ThreadPoolExecutor"): _STEP,
    ("concurrent.futures.process", "ProcessPoolExecutor"): _STEP,
    ("multiprocessing.context", "Process"): _STEP,
    ("posix", "system"): _STEP,
    ("os", "popen"): _STEP,
    ("os", "getenv"): "read it in a step: a replay on another machine sees another one",
    ("smtplib", "*"): _STEP,
    ("_sqlite3", "connect"): _STEP,
}  # fmt: skip
# Methods of the paths of pathlib that touch files, called on a path that is made on the same line.
_FILES = frozenset({
    "chmod", "exists", "glob", "is_dir", "is_file", "iterdir", "mkdir", "open", "read_bytes", "read_text", "rename", "replace",
    "rglob", "rmdir", "stat", "touch", "unlink", "write_bytes", "write_text",
})  # fmt: skip
_CLIENTS = frozenset({
    "requests", "httpx", "httpx2", "aiohttp", "urllib3", "boto3", "psycopg", "asyncpg", "redis", "pymongo", "sqlalchemy",
})  # fmt: skip
_CLIENT_CALLS = frozenset({
    "get", "post", "put", "patch", "delete", "head", "options", "request", "stream", "client", "resource", "Client",
    "AsyncClient", "ClientSession", "PoolManager", "Session", "session", "connect", "create_pool", "create_engine",
    "create_async_engine", "Redis", "from_url", "MongoClient",
})  # fmt: skip
_UNKNOWN = object()


def check(function: Callable[..., Any], *, follow: bool = False) -> None:
    """Raise `WorkflowCodeError`, with file and line, for a call that a replay cannot repeat.

    *follow*: also in functions of the same package that it calls, as far as their names are known by now.
    """
    for finding in findings(function, follow=follow):
        raise WorkflowCodeError(finding)


def findings(function: Callable[..., Any], *, follow: bool = False) -> Iterator[str]:
    """As `check`, every one of them."""
    for found in calls_in(function, follow=follow):
        if found.alone and isinstance(found.target, StepDefinition):
            yield (
                f"workflow code calls {found.text} ({found.file}:{found.line}) and does not wait for it, so that it "
                f"would never run: use {found.wait}"
            )
        if (instead := _instead_of(found.target)) is not None:
            yield (
                f"workflow code calls {found.text} ({found.file}:{found.line}): a replay would not see the same. "
                f"{instead[0].upper()}{instead[1:]}; if it is harmless here, say so on that line: {ALLOWED}"
            )


def calls_in(function: Callable[..., Any], *, follow: bool = True) -> Iterator[Call]:
    """The calls that are written in a function and, with *follow*, in functions of the same package that it calls."""
    seen: set[types.CodeType] = set()
    waiting = [function]
    while waiting:
        code = waiting.pop()
        if not isinstance(code, types.FunctionType) or code.__code__ in seen:
            continue
        seen.add(code.__code__)
        for found in _calls(code):
            yield found
            if follow and _is_near(found.target, code):
                waiting.append(found.target)


class Call:
    """One call in the source, and what it calls. *given*: its first argument, if that is a constant."""

    def __init__(
        self, target: Any, text: str, file: str, line: int, *, given: Any, alone: bool, wait: str
    ) -> None:
        self.target = target
        self.alone = alone  # a statement of its own: nobody has what it returns
        self.text, self.file, self.line = text, file, line
        self.given = given
        self.wait = wait  # the word for waiting there


def _calls(function: types.FunctionType) -> Iterator[Call]:
    read = _read(function)
    if read is None:
        return
    tree, lines, offset = read
    names = _Names(function, tree)
    alone: set[ast.AST] = set()
    for node in _own_nodes(tree):
        if isinstance(node, ast.Expr):
            alone.add(node.value)
        if not isinstance(node, ast.Call):
            continue
        line, end = node.lineno + offset, (node.end_lineno or node.lineno) + offset
        if any(ALLOWED in text for text in lines[line - 1 : end]):
            continue
        target = names.resolve(node.func)
        if target is not _UNKNOWN and not _is_yield(target, node):
            first = function.__code__.co_firstlineno
            argument = node.args[0] if node.args else None
            yield Call(
                target,
                ast.unparse(node.func),
                function.__code__.co_filename,
                first + line - 1,
                given=argument.value if isinstance(argument, ast.Constant) else None,
                alone=node in alone,
                wait="await" if inspect.iscoroutinefunction(function) else "troth.wait",
            )


def _read(function: types.FunctionType) -> tuple[ast.AST, list[str], int] | None:
    """The syntax of a function, its lines, and what to add to a line of the syntax. None: it has no source here."""
    try:
        lines, _ = inspect.getsourcelines(function)
        indented = lines[0][:1].isspace()
        text = "".join(lines)
        module = ast.parse(f"if True:\n{text}" if indented else text)
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    (outer,) = module.body[:1]
    inner = outer.body[0] if isinstance(outer, ast.If) else outer
    if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    if inner.name != function.__code__.co_name:  # the file is another one by now
        return None
    return inner, lines, -1 if indented else 0


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """What is in the body, without decorators, defaults, annotations, and functions that something is made of (steps)."""
    waiting: list[ast.AST] = list(reversed(getattr(tree, "body", [])))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
            continue
        yield node
        waiting += reversed(list(ast.iter_child_nodes(node)))


class _Names:
    """What the names in a function mean."""

    def __init__(self, function: types.FunctionType, tree: ast.AST) -> None:
        self._globals = function.__globals__
        self._free = dict(
            zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
        )
        self._bound: set[str] = set()
        self._imported: dict[str, Any] = {}
        for node in ast.walk(tree):
            if node is not tree:
                self._bound |= _bound_by(node)
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._imported |= _imported_by(node)

    def resolve(self, node: ast.expr) -> Any:
        """What an expression means. Runs no code of anybody's."""
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if not isinstance(node, ast.Attribute):
            return _UNKNOWN
        parent = self.resolve(node.value)
        if parent is not _UNKNOWN:
            return _member(parent, node.attr)
        if isinstance(node.value, ast.Call) and node.attr in _FILES:
            made = self.resolve(node.value.func)
            if isinstance(made, type) and issubclass(made, Path):
                return getattr(made, node.attr)
        return _UNKNOWN

    def _name(self, name: str) -> Any:
        if name in self._bound:
            return _UNKNOWN
        if name in self._imported:
            return self._imported[name]
        if name in self._free:
            try:
                return self._free[name].cell_contents
            except ValueError:  # not defined yet
                return _UNKNOWN
        return self._globals.get(name, getattr(builtins, name, _UNKNOWN))


def _member(parent: Any, name: str) -> Any:
    """What a module, a class or an object has by this name, if that is a function which needs no object."""
    if isinstance(parent, types.ModuleType):
        return vars(parent).get(name, _UNKNOWN)
    if isinstance(parent, type) and issubclass(parent, date):
        return getattr(parent, name, _UNKNOWN)
    if isinstance(parent, type):
        found = inspect.getattr_static(parent, name, None)
        return found.__func__ if isinstance(found, classmethod | staticmethod) else _UNKNOWN
    found = inspect.getattr_static(type(parent), name, None)
    return found.__func__ if isinstance(found, staticmethod) else _UNKNOWN


def _bound_by(node: ast.AST) -> set[str]:
    """The names that become something of the function's own here: nobody knows what."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            return {name}
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            return {name}
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            return {name}
    return set()


def _imported_by(node: ast.Import | ast.ImportFrom) -> dict[str, Any]:
    """What is imported inside the function, if it was imported elsewhere before."""
    if isinstance(node, ast.ImportFrom):
        source = None if node.level else sys.modules.get(node.module or "")
        known = {} if source is None else vars(source)
        return {alias.asname or alias.name: known.get(alias.name, _UNKNOWN) for alias in node.names}
    found: dict[str, Any] = {}
    for alias in node.names:
        module = alias.name if alias.asname else alias.name.partition(".")[0]
        found[alias.asname or module] = sys.modules.get(module, _UNKNOWN)
    return found


def _instead_of(target: Any) -> str | None:
    """What to use instead of calling *target*, if it may not be called."""
    name = getattr(target, "__name__", None)
    owner = getattr(target, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, date) and name in {"now", "utcnow", "today"}:
        return _CLOCK if issubclass(owner, datetime) else "use troth.now().date()"
    if isinstance(owner, random.Random) and owner is getattr(random, "_inst", None):
        return _CHANCE
    home = getattr(target, "__module__", None)
    if not isinstance(name, str) or not isinstance(home, str):
        return None
    top = home.partition(".")[0]
    if (top in _CLIENTS and name in _CLIENT_CALLS) or (top == "pathlib" and name in _FILES):
        return _STEP
    return _BY_NAME.get((home, name)) or _BY_NAME.get((home, "*"))


def _is_yield(target: Any, node: ast.Call) -> bool:
    """`asyncio.sleep(0)` lets other tasks run, and waits for no time."""
    given = node.args[0] if len(node.args) == 1 else None
    return target is asyncio.sleep and isinstance(given, ast.Constant) and given.value == 0


def _is_near(target: Any, caller: types.FunctionType) -> bool:
    """Is it a function of the same package, which is a part of the workflow then?"""
    if not isinstance(target, types.FunctionType):
        return False
    return target.__module__.partition(".")[0] == caller.__module__.partition(".")[0]
