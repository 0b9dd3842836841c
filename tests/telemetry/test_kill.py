"""A signup is one connected trace at whoever receives OTLP, although its worker was killed with SIGKILL in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.harness.postgres import wait_until
from tests.house.tree import ROOT
from tests.telemetry.receivers import Receiver, own, phoenix
from tests.telemetry.spans import forest
from tests.workflow.place import Place


class Billing:
    """The provider: it takes the first request to create and never answers it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.over = threading.Event()
        billing = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                billing.asked.append(self.path)
                if self.path == "/create":
                    billing.over.wait(60)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"cus_1")

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def provider() -> Iterator[Billing]:
    billing = Billing()
    thread = threading.Thread(target=billing.server.serve_forever)
    thread.start()
    try:
        yield billing
    finally:
        billing.over.set()
        billing.server.shutdown()
        billing.server.server_close()
        thread.join()


class Program:
    """One process of the signup."""

    def __init__(self, role: str, place: Place, receiver: Receiver, billing: Billing) -> None:
        arguments = [role, place.url, place.schema, receiver.endpoint, billing.url]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.telemetry.signup", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OTEL_SDK_DISABLED": "false"},
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def signup_with_a_kill(place: Place, receiver: Receiver) -> str:
    """Run it, and kill its first worker while the provider has its request; the run's id."""
    programs: list[Program] = []

    def begin(role: str) -> Program:
        programs.append(Program(role, place, receiver, billing))
        return programs[-1]

    with provider() as billing:
        try:
            workers = begin("worker"), begin("worker")
            wait_until(
                lambda: place.value("SELECT count(*) FROM {s}.worker WHERE executes") == 2,
                "both workers have joined",
            )
            web = begin("web")
            run_id = web.says()
            wait_until(lambda: billing.asked == ["/create"], "the provider has been asked")
            name = place.value(
                "SELECT w.name FROM {s}.run r JOIN {s}.worker w ON w.id = r.owner WHERE r.id = %s",
                run_id,
            )
            [victim] = [each for each in workers if name.endswith(f":{each.process.pid}")]
            victim.process.send_signal(signal.SIGKILL)
            assert web.says() == "cus_1"
            assert billing.asked == ["/create", "/find", "/welcome"]
            for each in workers:
                each.process.terminate()
                each.process.wait(30)
        finally:
            for program in programs:
                program.end()
    return run_id


def assert_one_connected_trace(receiver: Receiver, run_id: str) -> None:
    wait_until(
        lambda: any(node.name == "end signup" for node in receiver.nodes()), "the end arrives"
    )
    [root] = forest(receiver.nodes())  # one trace, and no orphans
    assert root.name == "POST /signups"
    start = root.find("start signup")
    assert len({node.trace for node in root.walk()}) == 1
    stays = start.children
    assert [stay.name for stay in stays] == ["run signup"] * 3
    stays.sort(key=lambda stay: int(stay.attributes["troth.claim"]))
    told = [sorted(stay.below()) for stay in stays]
    # What the victim was doing when it was killed is lost with it; that it had the run is not.
    assert told == [
        ["transaction create_account"],
        ["leave signup", "outcome create_customer", "outcome create_customer", "probe create_customer"],
        ["effect welcome", "end signup"],
    ]  # fmt: skip
    assert stays[1].find("probe create_customer").below() == ["GET /find"]
    assert stays[2].find("effect welcome").below() == ["GET /welcome"]
    assert [stay.attributes["troth.because"] for stay in stays] == ["start", "handover", "time"]
    assert len({stay.attributes["troth.worker"] for stay in stays}) == 2
    assert {
        n.attributes["troth.run_id"] for n in start.walk() if "troth.run_id" in n.attributes
    } == {run_id}


async def test_a_killed_signup_is_one_connected_trace(place: Place) -> None:
    with own() as receiver:
        run_id = await asyncio.to_thread(signup_with_a_kill, place, receiver)
        await asyncio.to_thread(assert_one_connected_trace, receiver, run_id)


@pytest.mark.slow
@pytest.mark.timeout(
    900
)  # it may have to make the environment of Phoenix, which begins slowly, too
async def test_a_killed_signup_is_one_connected_trace_at_a_receiver_of_somebody_else(
    place: Place, tmp_path: Path
) -> None:
    with phoenix(tmp_path) as receiver:
        run_id = await asyncio.to_thread(signup_with_a_kill, place, receiver)
        await asyncio.to_thread(assert_one_connected_trace, receiver, run_id)
