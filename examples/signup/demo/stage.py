"""Everything that the demo runs: PostgreSQL, provider, mailbox, service and workers, as real processes.

All of it lives in one temporary directory and is gone afterwards, however the demo ends.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import stripe

from examples.signup.books import open_chart
from examples.signup.people import access
from troth.store.embedded import Embedded
from troth.store.embedded_cluster import Cluster, wheel_binaries
from troth.store.migrate import migrate

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = Path(__file__).resolve().parents[1] / "schema.sql"
READY_S = 30.0
STOP_S = 5.0
SWEEP_EVERY_S = 3.0

BEHIND_DAYS = 9
"""The clocks of provider and bank begin so long ago. Nobody here minds: the service believes what they say of time."""

BANK_ACCOUNT, IBAN = "SIGNUP", "DE89370400440532013000"
LISTENS = re.compile(r"listening on (http://[0-9.:]+)/")
PRICES = {"starter": 900, "pro": 4900}
SUPPORTS = "Account::grant_credit"
"""What the key of support is for."""


class StageError(Exception):
    """Something of the demo itself did not start, or did not come back."""


class Stage:
    """The running system."""

    def __init__(self, directory: Path, *, lease_s: float, effect_timeout_s: float) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir()
        self.lease_s = lease_s
        self.effect_timeout_s = effect_timeout_s
        self.bank_out, self.statements = directory / "bank", directory / "statements"
        self.statements.mkdir()
        self._environment: dict[str, str] = {}
        self._stack = AsyncExitStack()
        self._processes: dict[str, Process] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        self.database_url = await self._open_postgres()
        self.bank_url = await self._open_bank()
        provider = await self._answering("provider", "--port", "0", "--bank", self.bank_url)
        mailbox = await self._answering("mailbox", "--smtp-port", "0", "--http-port", "0")
        self.provider_url = f"http://127.0.0.1:{provider['port']}"
        await self._set_back()
        self.mailbox_url = f"http://127.0.0.1:{mailbox['http_port']}"
        self._environment = {
            "TROTH_DATABASE_URL": self.database_url,
            "SIGNUP_STRIPE_URL": self.provider_url,
            "SIGNUP_BANK_URL": self.bank_url,
            "SIGNUP_BANK_ACCOUNT": BANK_ACCOUNT,
            "SIGNUP_BANK_IBAN": IBAN,
            "SIGNUP_STATEMENTS": str(self.statements),
            "SIGNUP_SMTP_PORT": str(mailbox["smtp_port"]),
            "SIGNUP_EFFECT_TIMEOUT_S": str(self.effect_timeout_s),
            "SIGNUP_SWEEP_EVERY_S": str(SWEEP_EVERY_S),
        }
        await self._sell_plans()
        with socket.create_server(("127.0.0.1", 0)) as bound:
            port = bound.getsockname()[1]
            self.service_url = f"http://localhost:{port}"
            self._environment["SIGNUP_ORIGIN"] = self.service_url
            self._environment["SIGNUP_WEBHOOK_SECRETS"] = await self._send_events_to(port)
            await self._open_service(bound.fileno())

    # PostgreSQL -----------------------------------------------------------------------------------

    async def _open_postgres(self) -> str:
        claim = await asyncio.to_thread(Embedded.acquire, self.directory)
        self._cluster = Cluster(self.directory / "postgres", wheel_binaries())
        self._stack.push_async_callback(self._remove_postgres, claim)
        await asyncio.to_thread(migrate, claim.url, "troth")
        with psycopg.connect(claim.url) as connection:
            connection.execute(SCHEMA.read_bytes())
            open_chart(connection)
            key = access.keys.create_blocking(connection, "support", scopes=[SUPPORTS])
        self.support_key = key.key
        return claim.url

    async def _remove_postgres(self, claim: Embedded) -> None:
        """Leave; the guard stops the server. If programs run as root, its files are elsewhere."""
        claim.release()
        await until(lambda: self._cluster.postmaster() is None, "PostgreSQL stops")
        log = self._cluster.log
        if log.exists():
            shutil.copy(log, self.logs / "postgres.log")
        shutil.rmtree(self._cluster.home, ignore_errors=True)

    async def crash_postgres(self) -> float:
        """Kill the server as a power cut would, and wait until it is back; seconds that it was away."""
        pid = self._cluster.postmaster()
        if pid is None:
            raise StageError("PostgreSQL is not running")
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)

        def is_back() -> bool:
            now = self._cluster.postmaster()
            return now is not None and now != pid and self._cluster.ready(now)

        await until(is_back, "PostgreSQL comes back")
        return time.monotonic() - began

    # The outside ----------------------------------------------------------------------------------

    async def _answering(self, name: str, *arguments: str) -> dict[str, Any]:
        """Start one of the outside processes; what it says when it is ready."""
        data = self.directory / f"{name}.sqlite"
        command = [sys.executable, "-m", f"examples.signup.{name}", *arguments, "--data", str(data)]
        process = await self._spawn(name, *command, stdout=PIPE)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                line = await process.stdout.readline()
            ports: dict[str, Any] = json.loads(line)
        except (TimeoutError, ValueError):
            raise StageError(f"the {name} did not start; see {self.logs}/{name}.log") from None
        return ports

    async def _set_back(self) -> None:
        """The provider's clock is behind as the bank's: so days can pass, and what happens on them is not in the future."""
        async with httpx.AsyncClient(base_url=self.provider_url, timeout=READY_S) as http:
            offset = -int(timedelta(days=BEHIND_DAYS).total_seconds())
            (await http.post("/_clock", json={"offset": offset})).raise_for_status()

    async def _open_bank(self) -> str:
        """A bank that somebody else has written, with an account of ours; its URL, which it says in its log."""
        data = str(self.directory / "bank.sqlite")
        clock = f"{datetime.now(UTC) - timedelta(days=BEHIND_DAYS):%Y-%m-%dT%H:%M}"
        # At any hour it is too late for today: what is ordered is carried out on the next working day.
        options = ["--port", "0", "--db", data, "--clock", clock, "--cutoff", "00:00"]
        command = [sys.executable, "-m", "mockbank", *options, "--pickup-dir", str(self.bank_out)]
        await self._spawn("bank", *command)
        log = self.logs / "bank.log"
        await until(lambda: LISTENS.search(log.read_text()) is not None, "the bank listens")
        found = LISTENS.search(log.read_text())
        assert found is not None
        account = {"id": BANK_ACCOUNT, "iban": IBAN, "currency": "EUR", "balance": 0}
        async with httpx.AsyncClient(base_url=found[1], timeout=READY_S) as http:
            (await http.post("/_mock/accounts", json=account)).raise_for_status()
        return found[1]

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[stripe.StripeClient]:
        http = stripe.HTTPXClient(timeout=READY_S)
        try:
            yield stripe.StripeClient(
                "sk_test_demo", base_addresses={"api": self.provider_url}, http_client=http
            )
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]  # the SDK has no types there

    async def _sell_plans(self) -> None:
        """The products and prices that an operator of the service would have made once."""
        async with self._client() as client:
            for plan, amount in PRICES.items():
                product = await client.v1.products.create_async({"name": plan})
                await client.v1.prices.create_async(
                    {
                        "product": product.id,
                        "currency": "eur",
                        "unit_amount": amount,
                        "recurring": {"interval": "month"},
                        "lookup_key": plan,
                    }
                )

    async def _send_events_to(self, port: int) -> str:
        """Have the provider send its events to the service; the secret that it signs them with."""
        url = f"http://127.0.0.1:{port}/webhooks/stripe"
        async with self._client() as client:
            endpoint = await client.v1.webhook_endpoints.create_async(
                {"url": url, "enabled_events": ["*"]}
            )
        assert endpoint.secret is not None
        return endpoint.secret

    # Ours -----------------------------------------------------------------------------------------

    async def _open_service(self, fd: int) -> None:
        """The service on a port that is taken before it starts, so that nobody else can have it."""
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "examples.signup.service:app",
            "--no-access-log",
        ]
        await self._spawn("service", *command, "--fd", str(fd), fd=fd)
        async with httpx.AsyncClient(base_url=self.service_url, timeout=READY_S) as client:
            try:
                (await client.get("/openapi.json")).raise_for_status()
            except httpx.HTTPError as error:
                log = self.logs / "service.log"
                raise StageError(f"the service did not start ({error!r}); see {log}") from None

    async def start_workers(self, processes: int) -> None:
        """What an operator would start: it keeps that many worker processes alive."""
        troth = Path(sys.executable).with_name("troth")
        command = [str(troth), "worker", "examples.signup.program:troth"]
        numbers = ["--processes", str(processes), "--lease", f"{self.lease_s:g}s"]
        await self._spawn("workers", *command, *numbers)

    def alive(self, worker: str) -> bool:
        """Whether a worker process lives; *worker* is its name in the database, HOST:PID."""
        with suppress(ProcessLookupError):
            os.kill(pid_of(worker), 0)
            return True
        return False

    async def kill(self, worker: str) -> None:
        """SIGKILL: no goodbye, no flush, nothing."""
        os.kill(pid_of(worker), signal.SIGKILL)
        await until(lambda: not self.alive(worker), f"{worker} dies")

    def stand_still(self, name: str) -> None:
        """SIGSTOP: it takes connections and requests, and answers nothing until it goes on."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        with suppress(ProcessLookupError):
            self._processes[name].send_signal(signal.SIGCONT)

    async def _spawn(
        self, name: str, *command: str | Path, stdout: int | None = None, fd: int | None = None
    ) -> Process:
        with (self.logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **self._environment},
                pass_fds=[] if fd is None else [fd],
                start_new_session=True,  # Ctrl-C is for the demo, which stops its children in order
            )
        self._stack.push_async_callback(stop, process)
        self._processes[name] = process
        return process

    async def guard(self) -> None:
        """Raise `StageError` as soon as a process ends that should not."""
        ends = {
            asyncio.create_task(process.wait()): name for name, process in self._processes.items()
        }
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            name = ends[done.pop()]
            code = self._processes[name].returncode
            raise StageError(f"{name} ended with {code}; see {self.logs}/{name}.log")
        finally:
            for task in ends:
                task.cancel()


def pid_of(worker: str) -> int:
    """The process of a worker of this machine, from its name in the database."""
    return int(worker.rpartition(":")[2])


async def stop(process: Process) -> None:
    """Ask a process to end, and make it end."""
    for ask in (process.terminate, process.kill):
        with suppress(ProcessLookupError):
            ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
                return


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what cannot notify us. Raises `StageError` after half a minute."""
    deadline = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline:
            raise StageError(f"{what}: not within {READY_S:.0f} s")
        await asyncio.sleep(0.01)


def make_directory() -> Path:
    """A temporary directory that others may enter: PostgreSQL's user, if this is root's."""
    path = Path(tempfile.mkdtemp(prefix="troth-signup-"))
    path.chmod(0o755)
    return path
