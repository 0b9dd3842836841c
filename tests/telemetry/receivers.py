"""Who receives OTLP: a server of ours, made of OpenTelemetry's own protocol buffers; and Phoenix, by others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness.postgres import wait_until
from tests.house.tree import ROOT
from tests.telemetry.spans import Node

PHOENIX = ROOT / ".venv-phoenix" / "bin" / "phoenix"
PINS = ROOT / "requirements" / "phoenix.txt"
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


class Receiver(Protocol):
    """*endpoint*: where spans are posted to."""

    endpoint: str

    def nodes(self) -> list[Node]:
        """What has arrived."""


class OwnReceiver:
    """Decodes what is posted, by `opentelemetry-proto`."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = ExportTraceServiceRequest.FromString(_plain(self.headers, body))
                receiver._nodes += _decoded(request)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def nodes(self) -> list[Node]:
        return list(self._nodes)


@contextmanager
def own() -> Iterator[Receiver]:
    receiver = OwnReceiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


def _plain(headers: Any, body: bytes) -> bytes:
    import gzip

    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


def _decoded(request: ExportTraceServiceRequest) -> Iterator[Node]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Node(
                    span.name,
                    int.from_bytes(span.trace_id),
                    int.from_bytes(span.span_id),
                    int.from_bytes(span.parent_span_id) if span.parent_span_id else None,
                    _KINDS[span.kind],
                    {each.key: _value(each.value) for each in span.attributes},
                    [
                        (int.from_bytes(link.trace_id), int.from_bytes(link.span_id))
                        for link in span.links
                    ],
                    span.status.message if span.status.code == 2 else None,
                )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


class PhoenixReceiver:
    """A server of somebody else, which stores spans and is asked for them by its REST API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self.endpoint = f"{self._url}/v1/traces"

    def is_up(self) -> bool:
        try:
            self._get("/v1/projects")
        except OSError:
            return False
        return True

    def nodes(self) -> list[Node]:
        try:
            found = self._get("/v1/projects/default/spans?limit=1000")["data"]
        except urllib.error.HTTPError as error:
            if error.code == 404:  # nothing has arrived yet
                return []
            raise
        return [
            Node(
                each["name"],
                int(each["context"]["trace_id"], 16),
                int(each["context"]["span_id"], 16),
                int(each["parent_id"], 16) if each["parent_id"] else None,
                "",
                _flat(each["attributes"]),
            )
            for each in found
        ]

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=10) as answer:
            return json.load(answer)


def _flat(attributes: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = value
    return flat


@contextmanager
def phoenix(directory: Path) -> Iterator[Receiver]:
    """Its server, in an environment and a process of its own, with its data in *directory*."""
    make_environment()
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        port, grpc_port = one.getsockname()[1], two.getsockname()[1]
    environment = os.environ | {
        "PHOENIX_WORKING_DIR": str(directory),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    log = directory / "phoenix.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [PHOENIX, "serve"], cwd=directory, env=environment, stdout=output, stderr=output
        )
    try:
        receiver = PhoenixReceiver(port)

        def up() -> bool:
            assert server.poll() is None, log.read_text()[-4000:]
            return receiver.is_up()

        wait_until(up, f"Phoenix answers (see {log})", 600)
        yield receiver
    finally:
        server.terminate()
        server.wait()


def make_environment() -> None:
    """An environment for Phoenix alone, by its pins; made again only when those have changed."""
    ready = PHOENIX.parents[1] / ".ready"
    if ready.exists() and ready.stat().st_mtime >= PINS.stat().st_mtime:
        return
    uv = Path(sys.executable).with_name("uv")
    python = PHOENIX.with_name("python")
    commands: tuple[list[str | Path], ...] = (
        ["venv", "--quiet", "--allow-existing", f"--python={sys.executable}", PHOENIX.parents[1]],
        ["pip", "install", "--quiet", f"--python={python}", "--require-hashes", "-r", PINS],
    )
    for arguments in commands:
        subprocess.run([uv, *arguments], cwd=ROOT, check=True)
    ready.touch()
