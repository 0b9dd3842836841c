"""Prometheus: counters of what happens in this process, and gauges that are read from the database when it is scraped.

    from troth.integrations.prometheus import Exporter

    metrics = Exporter(troth)             # once, where the program is defined
    app.mount("/metrics", metrics)        # in an ASGI application; or `troth worker MODULE:NAME --metrics-port 9100`

Every process counts its own; the gauges are the same from each of them, so take their maximum.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from troth.app import Troth
from troth.base.errors import UsageError
from troth.base.events import Event
from troth.integrations.asgi_command import Receive, Scope, Send
from troth.integrations.measures import Measure, by_event, labels_of, value_of
from troth.store.connect import Database, connect_blocking
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.isolation import transaction_blocking
from troth.store.plan import carry_out_blocking
from troth.view.gauges import Gauge, gauges
from troth.view.store import queries

log = logging.getLogger("troth.integrations")

READ_LIMIT_S = 5.0


class Exporter:
    """The metrics of one program in this process: an ASGI application that answers a scrape.

    *registry*: where they are registered; a new one if it is not given. *from_database*: whether the gauges are read, too.
    The database is that of *troth*.
    """

    def __init__(
        self,
        troth: Troth,
        *,
        registry: CollectorRegistry | None = None,
        from_database: bool = True,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._measures: dict[type[Event], list[tuple[Measure, Counter | Histogram]]] = {
            kind: [(each, _metric(each, self.registry)) for each in measures]
            for kind, measures in by_event().items()
        }
        if from_database:
            self.registry.register(FromDatabase(troth))
        troth.listen(self._listen, *self._measures)

    def _listen(self, event: Event) -> None:
        for measure, metric in self._measures[type(event)]:
            value = value_of(measure, event)
            if value is None:
                continue
            labelled = metric.labels(**labels_of(measure, event)) if measure.labels else metric
            if isinstance(labelled, Counter):
                labelled.inc(value)
            else:
                labelled.observe(value)

    def text(self) -> bytes:
        """What a scrape is answered. Blocks while the database is asked."""
        return generate_latest(self.registry)

    def serve(self, port: int, *, ports: int = 1, address: str = "0.0.0.0") -> WSGIServer:  # noqa: S104  (to be scraped)
        """Answer scrapes in a thread, on the first port from *port* on, of so many *ports*, that is free.

        Processes of one machine share the range. Gives back the server. Raises `UsageError` if all of them are in use.
        """
        for each in range(port, port + ports):
            try:
                server, _ = start_http_server(each, address, self.registry)
            except OSError as error:
                log.debug("port %d for metrics: %s", each, error)
            else:
                log.info("metrics on port %d", each)
                return server
        which = f"port {port}" if ports == 1 else f"all ports from {port} to {port + ports - 1}"
        raise UsageError(f"{which} for metrics in use already: choose another one")

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """One scrape."""
        if scope["type"] != "http":
            return
        found = scope["method"] in {"GET", "HEAD"}
        body = await asyncio.to_thread(self.text) if found else b""
        headers = [(b"content-type", CONTENT_TYPE_LATEST.encode())]
        status = 200 if found else 405
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": body if scope["method"] == "GET" else b""}
        )


class FromDatabase(Collector):
    """The gauges: read anew for every scrape, by statements that end their scans at a limit, within a few seconds."""

    def __init__(self, troth: Troth) -> None:
        self._troth = troth

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked when it is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Ask. If the database does not answer, there are no gauges, and `troth_database_up` is 0."""
        found: list[Gauge] = []
        try:
            found = self._read()
        except (DatabaseError, StoreError, OSError) as error:
            log.warning("the gauges cannot be read: %s", error)
        up = GaugeMetricFamily("troth_database_up", "Whether the database answered this scrape")
        up.add_metric([], float(bool(found)))
        yield up
        for gauge in found:
            family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=gauge.label_names)
            for labels, value in gauge.values.items():
                family.add_metric(labels, value)
            yield family

    def _read(self) -> list[Gauge]:
        schema = self._troth.schema
        # Connected anew: between two scrapes, nothing is held.
        with (
            Database.find(self._troth.url, self._troth.directory) as database,
            connect_blocking(database.url) as connection,
            transaction_blocking(connection, "repeatable read"),
        ):
            connection.execute(queries(schema).bound, (f"{round(READ_LIMIT_S * 1000)}ms",))
            return carry_out_blocking(connection, gauges(schema))


_SUFFIXES = {"s": "_seconds", "By": "_bytes"}


def _metric(measure: Measure, registry: CollectorRegistry) -> Counter | Histogram:
    name = measure.name.replace(".", "_") + _SUFFIXES.get(measure.unit, "")
    more: dict[str, Any] = {"registry": registry}
    if measure.kind == "counter":
        return Counter(name, measure.meaning, measure.labels, **more)
    return Histogram(name, measure.meaning, measure.labels, buckets=measure.buckets, **more)
