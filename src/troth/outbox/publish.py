"""What users call: an outbox with its destinations, and the endpoints of their customers."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from troth.base import codec, ids
from troth.base.errors import UsageError
from troth.outbox import rules, store
from troth.outbox.keep import Keeper
from troth.outbox.model import Destination, Endpoint, Order
from troth.outbox.relay import DestinationRelay
from troth.store.parts import Relay
from troth.store.plan import Plan, carry_out, carry_out_blocking
from troth.store.queries import Queries
from troth.store.tx import BlockingTx, Tx

LARGEST_PAYLOAD = 256 * 1024  # bytes
_Endpoints: TypeAlias = list[Endpoint]
_SECRET_BYTES = (24, 64)  # Standard Webhooks 1.0.0, "Signature scheme"


@runtime_checkable
class ChecksUrls(Protocol):
    """A destination that says which URLs its endpoints may have."""

    def check_url(self, url: str, *, allow_private: bool) -> None:
        """Raise `UsageError` for a URL that it will never call."""


class Outbox:
    """A named way out, to some destinations: `events = troth.include(Outbox("events", destinations=[…]))`.

    What is published goes to all destinations that this program declares. *largest*: bytes of a payload. *keep*: how long
    a message is remembered after its last delivery has ended; it may be forgotten up to as long again later, and never
    while one is pending or in doubt. Raises `UsageError` for what cannot be.
    """

    def __init__(
        self,
        name: str,
        *,
        destinations: Sequence[Destination],
        largest: int = LARGEST_PAYLOAD,
        keep: timedelta = timedelta(days=30),
    ) -> None:
        self._name = rules.require_name(name)
        self._destinations = tuple(destinations)
        self._largest = largest
        self._keep = keep
        if keep <= timedelta(0):
            msg = f"outbox {name}: keep is greater than 0, not {keep}"
            raise UsageError(msg)
        self._bound: Queries | None = None
        names = [rules.require_name(each.name) for each in self._destinations]
        if len(set(names)) < len(names):
            msg = f"outbox {name} has two destinations of one name: {names}; give them other names"
            raise UsageError(msg)
        self.endpoints = Endpoints(self)

    @property
    def name(self) -> str:
        """Its name; messages are stored with it, so it stays."""
        return self._name

    def bind(self, schema: str) -> None:
        """Use the tables of this schema (`troth.store.parts.Part`)."""
        self._bound = store.queries(schema)

    @property
    def relays(self) -> Sequence[Relay]:
        """One for each destination, and one that forgets (`troth.store.parts.Part`)."""
        keeper = Keeper(self._name, self.queries, self._keep.total_seconds())
        sending = [DestinationRelay(self._name, each, self.queries) for each in self._destinations]
        return [*sending, keeper]

    @property
    def queries(self) -> Queries:
        """Its statements. Raises `UsageError` if it is not part of a program yet."""
        if self._bound is None:
            msg = (
                f"outbox {self._name} belongs to no Troth: {self._name} = troth.include(Outbox(…))"
            )
            raise UsageError(msg)
        return self._bound

    @property
    def destinations(self) -> Sequence[Destination]:
        """Where its messages go."""
        return self._destinations

    async def publish(
        self,
        tx: Tx,
        kind: str,
        payload: Any,
        *,
        key: str | UUID | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """Publish a message in *tx*: it exists, and will be sent, if and only if that commits. Its id.

        *kind*: its type, like `invoice.paid`. *payload*: what can become JSON. *key*: messages of one key keep their order
        at destinations and endpoints that keep one. *headers*: sent along. Raises `UsageError` and `PayloadError`.
        """
        message = ids.new_id()
        await carry_out(tx, self._plan(message, kind, payload, key, headers))
        return message

    def publish_blocking(
        self,
        tx: BlockingTx,
        kind: str,
        payload: Any,
        *,
        key: str | UUID | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """As `publish`, from a thread."""
        message = ids.new_id()
        carry_out_blocking(tx, self._plan(message, kind, payload, key, headers))
        return message

    def _plan(
        self,
        message: UUID,
        kind: str,
        payload: Any,
        key: str | UUID | None,
        headers: Mapping[str, str] | None,
    ) -> Plan[int]:
        named = None if key is None else str(key)
        encoded, said = codec.encode(payload), dict(headers or {})
        rules.require_publishable(kind, named, encoded, said, self._largest)
        for destination in self._destinations:
            destination.check(kind, encoded, said)
        return store.publish(
            self.queries, message, self._name, kind, named, encoded, said, self._destinations
        )


class Endpoints:
    """The endpoints that an outbox's webhooks go to. Each act is part of the transaction that it is given.

    Secrets are kept in clear, since they have to sign; who can read the table can sign as this program. They are given
    out once, and no list shows them.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def add(
        self,
        tx: Tx,
        url: str,
        *,
        types: Sequence[str] = ("*",),
        secret: str | None = None,
        order: Order = "per_key",
        allow_private: bool = False,
        destination: str | None = None,
    ) -> tuple[UUID, str]:
        """Register *url* for messages of some *types* that are published from now on; its id and its secret.

        *types*: exact, or a beginning and `*`. *secret*: `whsec_` and base64 of 24 to 64 bytes; without it, a new one.
        *order*: `per_key`, or `none`. *allow_private*: it may be called at addresses that are not public. *destination*:
        its name, if there are several with endpoints. Raises `UsageError`.
        """
        endpoint, signing = ids.new_id(), _checked_secret(secret)
        plan = self._adding(endpoint, url, types, signing, order, allow_private, destination)
        await carry_out(tx, plan)
        return endpoint, signing

    def add_blocking(
        self,
        tx: BlockingTx,
        url: str,
        *,
        types: Sequence[str] = ("*",),
        secret: str | None = None,
        order: Order = "per_key",
        allow_private: bool = False,
        destination: str | None = None,
    ) -> tuple[UUID, str]:
        """As `add`, from a thread."""
        endpoint, signing = ids.new_id(), _checked_secret(secret)
        plan = self._adding(endpoint, url, types, signing, order, allow_private, destination)
        carry_out_blocking(tx, plan)
        return endpoint, signing

    async def rotate(
        self,
        tx: Tx,
        endpoint: UUID,
        *,
        keep: timedelta = timedelta(days=1),
        secret: str | None = None,
    ) -> str:
        """Give an endpoint a new secret, and return it; for *keep* both sign. Raises `EndpointNotFoundError`."""
        signing = _checked_secret(secret)
        await carry_out(tx, self._rotating(endpoint, signing, keep))
        return signing

    def rotate_blocking(
        self,
        tx: BlockingTx,
        endpoint: UUID,
        *,
        keep: timedelta = timedelta(days=1),
        secret: str | None = None,
    ) -> str:
        """As `rotate`, from a thread."""
        signing = _checked_secret(secret)
        carry_out_blocking(tx, self._rotating(endpoint, signing, keep))
        return signing

    async def enable(self, tx: Tx, endpoint: UUID, *, by: str, note: str | None = None) -> None:
        """Let an endpoint be called again: what has waited goes out, in order. Raises `EndpointNotFoundError`."""
        await carry_out(tx, self._switching(endpoint, "enable", by, note))

    def enable_blocking(
        self, tx: BlockingTx, endpoint: UUID, *, by: str, note: str | None = None
    ) -> None:
        """As `enable`, from a thread."""
        carry_out_blocking(tx, self._switching(endpoint, "enable", by, note))

    async def disable(self, tx: Tx, endpoint: UUID, *, by: str, note: str | None = None) -> None:
        """Do not call an endpoint; what is published for it waits. Raises `EndpointNotFoundError`."""
        await carry_out(tx, self._switching(endpoint, "disable", by, note))

    def disable_blocking(
        self, tx: BlockingTx, endpoint: UUID, *, by: str, note: str | None = None
    ) -> None:
        """As `disable`, from a thread."""
        carry_out_blocking(tx, self._switching(endpoint, "disable", by, note))

    async def remove(self, tx: Tx, endpoint: UUID, *, by: str, note: str | None = None) -> None:
        """Forget an endpoint; what waits for it is dropped. Raises `EndpointNotFoundError`."""
        await carry_out(tx, self._switching(endpoint, "remove", by, note))

    def remove_blocking(
        self, tx: BlockingTx, endpoint: UUID, *, by: str, note: str | None = None
    ) -> None:
        """As `remove`, from a thread."""
        carry_out_blocking(tx, self._switching(endpoint, "remove", by, note))

    async def list(self, tx: Tx) -> _Endpoints:
        """All of this outbox, the oldest first."""
        return await carry_out(tx, self._listing())

    def list_blocking(self, tx: BlockingTx) -> _Endpoints:
        """As `list`, from a thread."""
        return carry_out_blocking(tx, self._listing())

    def _rotating(self, endpoint: UUID, secret: str, keep: timedelta) -> Plan[None]:
        return store.rotate_secret(self._outbox.queries, endpoint, secret, keep)

    def _switching(self, endpoint: UUID, act: str, by: str, note: str | None) -> Plan[None]:
        yield from store.switch_endpoint(self._outbox.queries, endpoint, act, by)
        yield from store.record_switch(self._outbox.queries, endpoint, act, by, note)

    def _listing(self) -> Plan[_Endpoints]:
        return store.endpoints(self._outbox.queries, self._outbox.name)

    def _adding(
        self,
        endpoint: UUID,
        url: str,
        types: Sequence[str],
        secret: str,
        order: Order,
        allow_private: bool,
        destination: str | None,
    ) -> Plan[None]:
        rules.require_types(types)
        if order not in {"per_key", "none"}:
            msg = f"order is 'per_key' or 'none', not {order!r}"
            raise UsageError(msg)
        chosen = self._chosen(destination)
        if isinstance(chosen, ChecksUrls):
            chosen.check_url(url, allow_private=allow_private)
        return store.add_endpoint(
            self._outbox.queries,
            endpoint,
            self._outbox.name,
            chosen.name,
            url,
            types,
            per_key=order == "per_key",
            allow_private=allow_private,
            secret=secret,
        )

    def _chosen(self, name: str | None) -> Destination:
        having = [each for each in self._outbox.destinations if each.terms.to_endpoints]
        found = [each for each in having if name in {None, each.name}]
        if len(found) != 1:
            names = ", ".join(each.name for each in having) or "none"
            msg = (
                f"say which destination of outbox {self._outbox.name} the endpoint is for: {names}"
            )
            raise UsageError(msg)
        return found[0]


def _checked_secret(secret: str | None) -> str:
    if secret is None:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    try:
        raw = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raw = b""
    shortest, longest = _SECRET_BYTES
    if not secret.startswith("whsec_") or not shortest <= len(raw) <= longest:
        msg = f"a secret is whsec_ and base64 of {shortest} to {longest} random bytes; leave it out to get a new one"
        raise UsageError(msg)
    return secret
