"""The fault edge does what it says, and only to the request that was chosen."""

from __future__ import annotations

import smtplib
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness.postgres import wait_until
from tests.matrix.declarations import ON_THE_WIRE
from tests.matrix.edge import Fault
from tests.matrix.outsides import World, world
from tests.matrix.processes import EdgeProcess

BODY = b'{"id": "thing"}'


class Upstream(ThreadingHTTPServer):
    """Remembers what is delivered: method, mark and body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.delivered: list[tuple[str, str, bytes]] = []

    def delivered_of(self, mark: str) -> list[str]:
        """The methods of the requests with this mark, in order."""
        return [method for method, marked, _ in self.delivered if marked == mark]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.delivered.append((self.command, self.headers["mark"], body))
        self.send_response(200)
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    do_GET = do_POST  # noqa: N815  (the library calls it by this name)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def edge(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    log = tmp_path_factory.mktemp("edge") / "log"
    with EdgeProcess("http", upstream.server_port, log) as made:
        yield made


@pytest.fixture
def mark() -> str:
    return f"mark-{uuid.uuid4().hex}"


def send(
    edge: EdgeProcess, mark: str, method: str = "POST", port: int | None = None
) -> httpx.Response:
    url = f"http://127.0.0.1:{port or edge.ways.port}/things"
    content = b"name=x" if method == "POST" else None
    return httpx.request(method, url, content=content, headers={"mark": mark}, timeout=0.5)


def test_every_fault_of_the_matrix_is_known() -> None:
    assert set(ON_THE_WIRE) == set(Fault)


def test_without_a_fault_everything_passes(
    edge: EdgeProcess, upstream: Upstream, mark: str
) -> None:
    assert send(edge, mark).content == BODY
    assert ("POST", mark, b"name=x") in upstream.delivered


@pytest.mark.parametrize(
    ("fault", "heard", "delivered"),
    [
        ("429", 429, 0),
        ("500 before", 500, 0),
        ("500 after", 500, 1),
        ("time out after", httpx.ReadTimeout, 1),
        ("reset after", httpx.ReadError, 1),
        ("truncate after", httpx.RemoteProtocolError, 1),
        ("late delivery", httpx.ReadTimeout, 0),
    ],
)
def test_a_fault_strikes_the_chosen_request_once(
    edge: EdgeProcess, upstream: Upstream, mark: str, fault: str, heard: Any, delivered: int
) -> None:
    edge.aim(fault, mark, "POST ")
    assert send(edge, "other").status_code == 200
    assert send(edge, mark, "GET").status_code == 200
    if isinstance(heard, int):
        assert send(edge, mark).status_code == heard
    else:
        with pytest.raises(heard):
            send(edge, mark)
    assert upstream.delivered_of(mark) == ["GET", *["POST"] * delivered]
    assert mark in edge.report()["struck"]
    assert send(edge, mark).status_code == 200


def hold(edge: EdgeProcess, mark: str, until: str = "") -> None:
    """Send a request that is held, and give up."""
    edge.aim("late delivery", mark, "POST ", until)
    with pytest.raises(httpx.ReadTimeout):
        send(edge, mark)
    assert mark in edge.report()["held"]


def wait_delivered(upstream: Upstream, mark: str, methods: list[str]) -> None:
    wait_until(lambda: upstream.delivered_of(mark) == methods, f"{methods} are delivered", 10)


def test_what_is_held_arrives_after_the_next_request_with_its_mark(
    edge: EdgeProcess, upstream: Upstream, mark: str
) -> None:
    hold(edge, mark)
    send(edge, "other")
    assert mark in edge.report()["held"]
    send(edge, mark, "GET")
    wait_delivered(upstream, mark, ["GET", "POST"])


def test_what_is_held_may_wait_for_a_request_of_its_kind(
    edge: EdgeProcess, upstream: Upstream, mark: str
) -> None:
    hold(edge, mark, until="POST ")
    send(edge, mark, "GET")
    assert mark in edge.report()["held"]
    send(edge, mark, "POST")
    wait_delivered(upstream, mark, ["GET", "POST", "POST"])


def test_coming_to_rest_delivers_what_is_held(
    edge: EdgeProcess, upstream: Upstream, mark: str
) -> None:
    hold(edge, mark)
    edge.come_to_rest()
    assert upstream.delivered_of(mark) == ["POST"]


def test_the_door_is_closed_until_it_is_opened(
    upstream: Upstream, tmp_path: Path, mark: str
) -> None:
    with EdgeProcess("http", upstream.server_port, tmp_path / "edge.log") as edge:
        with pytest.raises(httpx.ConnectError):
            send(edge, mark, port=edge.ways.door)
        assert send(edge, mark).status_code == 200
        edge.open_door()
        assert send(edge, mark, port=edge.ways.door).status_code == 200


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, EdgeProcess]]:
    directory = tmp_path_factory.mktemp("mailbox")
    with (
        world("mailbox", directory) as box,
        EdgeProcess("smtp", box.port, directory / "edge.log") as edge,
    ):
        yield box, edge


def mail(edge: EdgeProcess, to: str) -> None:
    with smtplib.SMTP("127.0.0.1", edge.ways.port, timeout=0.5) as server:
        message = f"To: {to}@x.example\r\nMessage-ID: <{to}@x.example>\r\n\r\nHello.\r\n"
        server.sendmail("a@x.example", [f"{to}@x.example"], message)


@pytest.mark.parametrize(
    ("fault", "heard", "delivered"),
    [
        ("429", smtplib.SMTPRecipientsRefused, 0),
        ("500 before", smtplib.SMTPDataError, 0),
        ("500 after", smtplib.SMTPDataError, 1),
        ("time out after", smtplib.SMTPServerDisconnected, 1),
        ("reset after", smtplib.SMTPServerDisconnected, 1),
        ("truncate after", smtplib.SMTPException, 1),
        ("late delivery", smtplib.SMTPServerDisconnected, 0),
    ],
)
def test_mails_meet_the_same_faults(
    mailbox: tuple[World, EdgeProcess],
    mark: str,
    fault: str,
    heard: type[Exception],
    delivered: int,
) -> None:
    box, edge = mailbox
    edge.aim(fault, mark, box.writes)
    other = f"other-{mark[-9:]}"
    mail(edge, other)
    with pytest.raises(heard):
        mail(edge, mark)
    assert box.copies("mail")[mark] == delivered
    late = fault == "late delivery"
    mail(edge, mark)
    edge.come_to_rest()
    assert box.copies("mail")[mark] == delivered + 1 + late
    assert box.truth("mail")[mark] == box.copies("mail")[other] == 1
