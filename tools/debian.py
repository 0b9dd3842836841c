"""
Programs of others that tests run: found on this machine, or installed from Debian's packages if root runs this.

`python tools/debian.py` brings all that `make test` needs; what it cannot bring, it names, and tests that need it say so.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {  # where the program is, and the package that brings it
    "/usr/bin/bean-check": "beancount",
    "/usr/bin/chromium": "chromium",
    "/usr/bin/hledger": "hledger",
    "/usr/sbin/nats-server": "nats-server",
    "/usr/sbin/pgbouncer": "pgbouncer",
    "/usr/bin/promtool": "prometheus",
    "/usr/bin/redis-server": "redis-server",
}


def brought(program: str, package: str) -> bool:
    """Is *program* (an absolute path) here? Root may install it."""
    if Path(program).exists():
        return True
    if os.geteuid() == 0 and shutil.which("apt-get"):
        apt_get("update")
        apt_get("install", "-y", "--no-install-recommends", package)
    if Path(program).exists():
        return True
    print(
        f"no {program}: what needs it is left out."
        f" On Debian 12: apt-get install --no-install-recommends {package}"
    )
    return False


def apt_get(*arguments: str) -> None:
    """Run apt-get without questions; what it could not do shows in what is there afterwards."""
    command = ["apt-get", "-qq", *arguments]
    print(" ".join(command), flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=False,
    )


def main() -> int:
    """Bring everything; a machine that lacks something can still run most tests, so this never fails."""
    for program, package in PACKAGES.items():
        brought(program, package)
    return 0


if __name__ == "__main__":
    sys.exit(main())
