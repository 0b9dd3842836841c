"""An HTTP request of the application, whatever client it has, as an operation at a provider."""

from __future__ import annotations

from collections.abc import Iterable

from troth.lab.edge.attempt import attributed
from troth.lab.model import Observation, Op

_OF_THE_CLIENT = {
    "host",
    "connection",
    "accept",
    "accept-encoding",
    "user-agent",
    "content-length",
    "transfer-encoding",
    "x-stripe-client-telemetry",  # how long the last request took
    "x-stripe-client-user-agent",
}
"""Headers that a client's library sets by itself: no provider decides anything by them."""


def ask(
    hosts: dict[str, str],
    method: str,
    url: str,
    host: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
    body: bytes,
    site: str = "",
) -> Observation:
    """What comes back: (status, headers, body); or an error: `timeout` or `unreachable`, and what to say about it.

    Args:
        hosts: the provider's name per host.
        method: GET, POST, …
        url: as a reason to refuse would name it.
        host: of the URL.
        path: of the URL.
        query: of the URL, decoded.
        headers: all that would be sent.
        body: what would be sent.
        site: where it was asked, if not here.
    """
    attempt = attributed(f"{method} {url}")
    name = hosts.get(host)
    if name is None:
        attempt.refuse(
            f"{method} {url}: no provider of this lab has the host {host!r}; declare it with lab.provider()"
        )
    sent = tuple(sorted((k.lower(), v) for k, v in headers if k.lower() not in _OF_THE_CLIENT))
    return attempt.ask(Op("http", name, f"{method} {path}", (tuple(query), sent, body)), site)
