"""What no catcher knows must not pass: sockets, processes and files of an attempt refuse the verdict."""

from __future__ import annotations

import platform
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch

from troth.lab.edge.attempt import Stopped, current

_CONNECTS = {
    "socket.connect",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "ftplib.connect",
}
_CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.move",
    "shutil.copyfile",
}
_WATCHED = _CONNECTS | _CHANGES | {"open", "sqlite3.connect"}
_allowed: tuple[str, ...] = ()
_hooked = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _WATCHED:
        return
    attempt = current.get()
    if attempt is None or attempt.refused or attempt.responding:
        return
    if event == "open" and not _writes(arguments):
        return
    subject = str(arguments[0]) if arguments else ""
    if event == "sqlite3.connect" and subject in {":memory:", ""}:
        return
    if event in _CHANGES | {"open"} and (
        subject.endswith(".pyc") or "__pycache__" in subject or _permitted(subject)
    ):
        return
    shown = arguments[1] if event == "socket.connect" else subject
    attempt.refuse(
        f"{event} {shown!r}: the lab does not see what happens there; "
        "route it through something it knows, or lab.ignore(path=…, because=…) if it does not matter"
    )


def _writes(arguments: tuple[object, ...]) -> bool:
    _, mode, flags = (*arguments, None, None, None)[:3]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & 0b11)


def _permitted(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in _allowed)


@contextmanager
def caught(allowed: tuple[str, ...]) -> Iterator[None]:
    """Escapes refuse while the context lasts. An audit hook cannot be removed, so it stays and does nothing."""
    global _allowed, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    _allowed = allowed
    platform.platform()  # asks another program, once in a process: not in the first attempt
    " ".join(platform.uname())
    yield


def opened_before(paths: list[str | None]) -> str | None:
    """The reason to refuse if a connection to a database of the lab was opened before the lab could see it."""
    import gc

    from troth.lab.edge.sqlite import Connection

    for one in gc.get_objects():
        kind = type(
            one
        )  # not isinstance: that asks a lazy object what it stands for, which loads it
        if issubclass(kind, sqlite3.Connection) and not issubclass(kind, Connection):
            try:
                files = [row[2] for row in one.execute("PRAGMA database_list")]
            except (sqlite3.Error, ValueError):
                continue
            for path in paths:
                if path in files:
                    return f"a connection to {path} was opened before the lab was there (at import?); open it per request"
    return None


__all__ = ["Stopped", "caught", "opened_before"]
