"""The process that owns an embedded server: `python -m troth.store.embedded_guard HOME BINARIES FD`.

It is the parent of the postmaster. It starts it, starts it again if it dies, and stops it when
nobody holds the users file any more, however the users ended: a killed process's lock vanishes
with it. FD is the locked guard file, inherited from the process that started this one, so that
there is no moment without an owner. One line on standard output says that the server is ready;
end of file without it says that there will be none.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from troth.store.embedded_cluster import Cluster

Event = Literal["deserted", "died", "terminated"]
READY = b"ready\n"
USERS = "users"
QUICK_DEATH = 5.0  # seconds; a server that lives shorter, three times in a row, is left alone
ADOPTED_POLL = 0.2  # seconds; who is not our child can only be asked

logger = logging.getLogger("troth.embedded")


class Guard:
    """Keeps the postmaster of one cluster alive while it has users."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.pid = 0

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until the last user has gone or somebody ends this process."""
        signal.signal(signal.SIGTERM, lambda *_: self.events.put("terminated"))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._begin()
        ready()
        self._watch(self._wait_until_deserted)
        started, quick_deaths = time.monotonic(), 0
        while (event := self.events.get()) == "died":
            quick_deaths = quick_deaths + 1 if time.monotonic() - started < QUICK_DEATH else 0
            logger.warning("the server (%d) died", self.pid)
            if quick_deaths == 3:
                logger.error("it does not stay alive; giving up. See %s", self.cluster.log)
                return
            self._begin()
            started = time.monotonic()
        logger.info("%s: stopping the server (%d)", event, self.pid)
        self.cluster.stop(self.pid)

    def _begin(self) -> None:
        """Start the server, or adopt the one that a killed guard left behind."""
        orphan = self.cluster.postmaster()
        if orphan is not None:
            self.pid = orphan
            logger.info("adopted the running server (%d)", orphan)
            self._watch(lambda: self._poll(orphan))
            return
        self.cluster.create()
        child = self.cluster.start()
        self.pid = child.pid
        logger.info("started the server (%d): %s", child.pid, self.cluster.url)
        self._watch(lambda: self._wait(child))

    def _wait(self, child: subprocess.Popen[bytes]) -> None:
        child.wait()
        self.events.put("died")

    def _poll(self, pid: int) -> None:
        while not self.cluster.gone(pid):
            time.sleep(ADOPTED_POLL)
        self.events.put("died")

    def _wait_until_deserted(self) -> None:
        """Users hold the file shared; who gets it exclusively is alone, and keeps it to the end."""
        self._alone = os.open(self.cluster.home / USERS, os.O_RDWR)
        fcntl.flock(self._alone, fcntl.LOCK_EX)
        self.events.put("deserted")

    @staticmethod
    def _watch(wait: Callable[[], object]) -> None:
        threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Run a guard over the cluster that the command line names."""
    home, binaries, guard_lock = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    os.set_inheritable(guard_lock, False)  # the server must not keep it when this process dies
    if os.fork():
        os._exit(0)  # the guard is nobody's child: its end concerns no program's wait()
    logging.basicConfig(
        filename=home / "guard.log", level=logging.INFO, format="%(asctime)s %(message)s"
    )
    try:
        Guard(Cluster(home, binaries)).run(lambda: _say(READY))
    except Exception as error:
        logger.exception("no server")
        _say(str(error).encode())
        sys.exit(1)


def _say(line: bytes) -> None:
    os.write(sys.stdout.fileno(), line)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())


if __name__ == "__main__":
    main()
