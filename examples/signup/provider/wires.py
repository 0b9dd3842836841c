"""Money on its way to the bank, in the background: each payout arrives there once.

The bank does not recognise a wire that it has had already. So before a second attempt it is asked whether the first one
arrived, by the payout's id, which the wire carries as its end-to-end id. What the bank refuses has failed.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.signup.provider.resources import payouts
from examples.signup.provider.session import Session
from examples.signup.provider.store import Json, Store

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("provider")

PATIENCE = 10.0
"""Seconds that the bank has for an answer."""

SENDER = "Stripe Payments Europe"


@dataclass(frozen=True)
class Bank:
    """Where the account's owner has their bank account."""

    url: str
    account: str


class Wires:
    """Sends one wire after the other. There must be one sender only."""

    def __init__(self, store: Store, bank: Bank) -> None:
        self._store = store
        self._bank = bank
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """The clock does, every second."""
        self._awake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        import httpx  # only now: most providers have no bank, and start the faster

        async with httpx.AsyncClient(base_url=self._bank.url, timeout=PATIENCE) as http:
            while True:
                self._awake.clear()
                await self._send_all(http)
                await self._awake.wait()

    async def _send_all(self, http: "httpx.AsyncClient") -> None:
        """All that waits; if the bank does not answer, the rest waits for the next time."""
        import httpx

        while (wire := self._store.next_wire()) is not None:
            ident, tried = wire
            try:
                refusal = await self._send(http, ident, tried=tried)
            except httpx.HTTPError as error:
                log.warning("the bank does not answer about %s: %r", ident, error)
                return
            with self._store.work():
                session = Session(self._store, self._store.now(), None, None)
                self._store.wire_done(ident)
                if refusal is None:
                    payouts.taken(session, ident)
                else:
                    payouts.fail(session, ident, refusal)
            await self._store.durable()

    async def _send(self, http: "httpx.AsyncClient", ident: str, *, tried: bool) -> str | None:
        """Pay it to the bank, unless it is there. Why the bank refuses, or None. Raises `httpx.HTTPError` if nobody knows."""
        if tried and await has_arrived(http, ident):
            return None
        with self._store.work():
            self._store.wire_tried(ident)
        await self._store.durable()
        found = self._store.get("payout", ident)
        assert found is not None
        answer = await http.post("/_mock/credits", json=self._credit(found[0]))
        if answer.is_client_error:
            return str(answer.json()["error"])
        answer.raise_for_status()
        return None

    def _credit(self, payout: Json) -> Json:
        return {
            "account": self._bank.account,
            "amount": payout["amount"],
            "currency": payout["currency"].upper(),
            "debtor": {"name": SENDER},
            "end_to_end_id": payout["id"],
            "note": f"STRIPE {payout['id']}",
            "reference": payout["id"],
        }


async def has_arrived(http: "httpx.AsyncClient", ident: str) -> bool:
    """Whether the bank has a wire with this id."""
    credits_ = (await http.get("/_mock/credits")).raise_for_status().json()
    return any(one["end_to_end_id"] == ident for one in credits_)
