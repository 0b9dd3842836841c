"""Webhooks on their way out, in the background.

An event and its deliveries are committed together with the change that they tell of; this sends them
afterwards. Each attempt is signed with the time of the attempt. An answer that is not 2xx, or none, is
tried again after a while. Order is not kept, as Stripe does not keep it; the rules make it worse.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from examples.signup.provider import outgoing
from examples.signup.provider.fates import Fates, RuleError, Rules, rules_of
from examples.signup.provider.outgoing import Delivery
from examples.signup.provider.signing import signature
from examples.signup.provider.store import Json, Store

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("provider")

AT_ONCE = 16
"""Requests under way at a time."""

LOOK_AGAIN = 1.0
"""Seconds after which to look for work even if nobody woke us."""

ORDERS = ("given", "reverse", "random")


class Deliveries:
    """Sends what is due. Rules live in memory: a restarted server delivers well."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fates = Fates(Rules())
        self._awake = asyncio.Event()
        self._under_way: set[int] = set()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._http: httpx.AsyncClient | None = None

    # -- the controls ----------------------------------------------------------------------------

    def show(self) -> Json:
        self._draw()
        return {"rules": self._fates.rules.show(), **outgoing.summary(self._store)}

    def configure(self, posted: object) -> Json:
        """New rules for the events from now on, and a new generator. Raises `RuleError`."""
        rules = rules_of(posted)
        self._draw()
        self._fates = Fates(rules)
        self.wake()
        return {"rules": rules.show()}

    async def flush(self, posted: object) -> Json:
        """Send all that is held, and return when each copy was answered. Raises `RuleError`.

        `order`: given, reverse, random (with `seed`), or a list of event ids (all others after them).
        `parallel`: how many at a time; with 1 the next one is sent after the answer to the last.
        """
        if not isinstance(posted, dict) or set(posted) - {"order", "seed", "parallel"}:
            raise RuleError("post an object with order, seed and parallel, or an empty one")
        parallel = posted.get("parallel", 1)
        if not isinstance(parallel, int) or parallel < 1:
            raise RuleError("parallel is a whole number, 1 or more")
        self._draw()
        waiting = ordered(outgoing.held(self._store), posted)
        waiting = [one for one in waiting if one.seq not in self._under_way]
        self._under_way.update(one.seq for one in waiting)
        queue = iter(waiting)

        async def sender() -> int:
            return sum([await self._send(one) for one in queue])

        taken = await asyncio.gather(*(sender() for _ in range(parallel)))
        self.wake()
        return {"sent": len(waiting), "delivered": sum(taken)}

    # -- the background --------------------------------------------------------------------------

    def wake(self) -> None:
        self._awake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                self._awake.clear()
                self._draw()
                await self._store.durable()
                now = time.time()
                self._start(now)
                await self._rest(now)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._http is not None:
                await self._http.aclose()

    def _draw(self) -> None:
        """Decide what becomes of the new deliveries, in the order of their events."""
        fresh = outgoing.fresh(self._store)
        if not fresh:
            return
        hold, now = self._fates.rules.hold, time.time()
        with self._store.work():
            for one in fresh:
                outgoing.give_fate(self._store, one, self._fates.draw(), now, hold=hold)

    def _start(self, now: float) -> None:
        free = AT_ONCE - len(self._tasks)
        for one in outgoing.due(self._store, now, self._under_way, free):
            self._under_way.add(one.seq)
            task = asyncio.create_task(self._send(one))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[bool]) -> None:
        self._tasks.discard(task)
        self.wake()

    async def _rest(self, now: float) -> None:
        """Until somebody wakes us, an attempt ends, or the next one is due."""
        at = outgoing.next_time(self._store, now)
        seconds = LOOK_AGAIN if at is None else min(max(at - time.time(), 0.0), LOOK_AGAIN)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._awake.wait(), seconds)

    async def _send(self, delivery: Delivery) -> bool:
        """One attempt. Whether it was taken."""
        try:
            return await self._attempt(delivery)
        except Exception:
            log.exception("delivery %d broke; this is a defect of the server", delivery.seq)
            with self._store.work():
                outgoing.set_state(self._store, delivery.seq, "failed")
            return False
        finally:
            self._under_way.discard(delivery.seq)

    async def _attempt(self, delivery: Delivery) -> bool:
        await self._store.durable()
        endpoint = self._store.get("webhook_endpoint", delivery.endpoint)
        event = self._store.get("event", delivery.event)
        if endpoint is None or endpoint[1] or endpoint[0]["status"] != "enabled" or event is None:
            with self._store.work():
                outgoing.set_state(self._store, delivery.seq, "skipped")
            return False
        answer = await self._post(endpoint[0], json.dumps(event[0]).encode())
        taken = answer is not None and 200 <= answer < 300
        backoff = self._fates.rules.backoff
        state, next_at = "delivered" if taken else "failed", 0.0
        if not taken and delivery.attempts < len(backoff):
            state, next_at = "waiting", time.time() + backoff[delivery.attempts]
        with self._store.work():
            outgoing.answered(self._store, delivery, state, answer, next_at)
        return taken

    async def _post(self, endpoint: Json, body: bytes) -> int | None:
        """The HTTP status; None for no answer. A redirect is not followed: it is not 2xx."""
        import httpx  # only now: most providers never send anything, and start the faster

        if self._http is None:
            self._http = httpx.AsyncClient(limits=httpx.Limits(max_connections=2 * AT_ONCE))
        secret = self._store.secret(endpoint["id"])
        headers = {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": signature(secret, body, int(time.time())),
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            answer = await self._http.post(
                endpoint["url"],
                content=body,
                headers=headers,
                timeout=self._fates.rules.timeout,
            )
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        return answer.status_code


def ordered(held: Sequence[Delivery], posted: Json) -> list[Delivery]:
    """What is held, in the order that was asked for. Raises `RuleError`."""
    order = posted.get("order", "given")
    if isinstance(order, list):
        place = {ident: index for index, ident in enumerate(order)}
        return sorted(held, key=lambda one: place.get(one.event, len(place)))
    if order not in ORDERS:
        raise RuleError(f"order is one of {', '.join(ORDERS)}, or a list of event ids")
    if order == "random":
        seed = posted.get("seed", 0)
        if not isinstance(seed, int):
            raise RuleError("seed is a whole number")
        return random.Random(seed).sample(held, len(held))
    return list(held) if order == "given" else list(held)[::-1]
