"""NATS JetStream out: each message of an outbox is published to a stream, and the stream's acknowledgement awaited.

    events = troth.include(Outbox("events", destinations=[NatsJetStream("nats://127.0.0.1:4222", stream="EVENTS")]))

The subject is the message's type (after *prefix*). `Nats-Msg-Id` is the message's id: JetStream itself leaves out what it
has seen within the stream's `duplicate_window` (two minutes, unless configured); later repetitions are the consumer's to
notice, by the same header. The stream is yours to create.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from troth.base.errors import UsageError
from troth.outbox.model import Delivered, Order, Outcome, Outgoing, Refused, Terms, Unsettled

if TYPE_CHECKING:
    from nats.aio.client import Client

SCHEDULE = (0, 1, 2, 5, 10, 30, 60)  # then every minute: a broker is one's own, and comes back
_CONNECT_S = 3


class NatsJetStream:
    """Publishes to one stream of a NATS server or cluster. It never gives up: while there is no server, messages wait."""

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        stream: str,
        prefix: str = "",
        credentials: str | None = None,
        name: str = "nats",
        order: Order = "per_key",
        concurrency: int = 32,
        timeout: float = 10.0,
        schedule: Sequence[float] = SCHEDULE,
    ) -> None:
        try:
            import nats  # noqa: F401
        except ImportError:
            msg = "NATS needs one more package: pip install 'troth[nats]'"
            raise UsageError(msg) from None
        self.name = name
        self.terms = Terms(
            concurrency=concurrency,
            order=order,
            timeout_s=timeout,
            schedule=tuple(schedule),
            forever=True,
        )
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        self._stream = stream
        self._prefix = prefix
        self._credentials = credentials
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Client]] = (
            WeakKeyDictionary()
        )

    def check(self, kind: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Raise `UsageError` for a type that is no subject, and for headers that NATS itself uses."""
        _ = payload
        if not all(f"{self._prefix}{kind}".split(".")):
            msg = (
                f"{self._prefix}{kind} is not a subject of NATS: no part between dots may be empty"
            )
            raise UsageError(msg)
        for name in headers:
            if name.lower().startswith("nats-"):
                msg = f"the header {name} is set by the sender"
                raise UsageError(msg)

    async def deliver(self, message: Outgoing) -> Outcome:
        """Publish it once, and wait for the acknowledgement."""
        import nats.errors
        from nats.js.errors import APIError, NoStreamResponseError

        try:
            client = await self._client()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            return Unsettled(f"{type(error).__name__}: {error}", sent=False)
        said = {**message.headers, "Nats-Msg-Id": str(message.id)}
        try:
            acknowledged = await client.jetstream().publish(
                f"{self._prefix}{message.type}",
                message.payload,
                timeout=self.terms.timeout_s,
                stream=self._stream,
                headers=said,
            )
        except nats.errors.MaxPayloadError:
            return Refused("the payload is larger than the server allows")
        except NoStreamResponseError:
            return Unsettled(f"no stream takes {self._prefix}{message.type}", sent=False)
        except APIError as error:
            return Unsettled(f"{error.code} {error.description}", sent=False)
        except (nats.errors.Error, OSError) as error:
            await self.close()  # it may hang on what is gone
            return Unsettled(f"{type(error).__name__}: {error}")
        seen = ", seen before" if acknowledged.duplicate else ""
        return Delivered(f"{acknowledged.stream} {acknowledged.seq}{seen}")

    async def close(self) -> None:
        """Close the connection of this event loop."""
        connecting = self._clients.pop(asyncio.get_running_loop(), None)
        if connecting is None:
            return
        connecting.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await (await connecting).close()

    async def _client(self) -> Client:
        """The connection of this event loop, which all attempts share."""
        loop = asyncio.get_running_loop()
        connecting = self._clients.get(loop)
        if connecting is not None and connecting.done():
            failed = connecting.cancelled() or connecting.exception() is not None
            connecting = None if failed or connecting.result().is_closed else connecting
        if connecting is None:
            connecting = self._clients[loop] = loop.create_task(self._connect())
        return await asyncio.shield(connecting)

    async def _connect(self) -> Client:
        import nats

        return await nats.connect(
            servers=self._servers,
            user_credentials=self._credentials,
            connect_timeout=_CONNECT_S,
            allow_reconnect=False,  # the outbox tries again itself, and says so in its rows
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            error_cb=_quiet,
        )


async def _quiet(_error: Exception) -> None:
    """What goes wrong is told by the publish that met it."""
