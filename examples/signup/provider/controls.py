"""The controls under /_faults, /_clock, /_truth, /_wires and /_deliveries: for tests and demonstrations."""

import json
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from examples.signup.outside.faults import Faults
from examples.signup.provider.agenda import catch_up
from examples.signup.provider.deliveries import Deliveries
from examples.signup.provider.store import INDEXED, Json, Store


class Unknown(LookupError):
    """There is no such control."""


class Controls:
    """What an operator of the provider can see and turn. Errors in what is posted are `ValueError`s."""

    def __init__(self, store: Store, faults: Faults, deliveries: Deliveries) -> None:
        self._store = store
        self._faults = faults
        self._deliveries = deliveries

        self._turns: Mapping[tuple[str, str], Callable[[str, bytes], object]] = {
            ("GET", "/_faults"): lambda query, body: faults.show(),
            ("POST", "/_faults"): lambda query, body: [
                rule.show() for rule in faults.add(json.loads(body))
            ],
            ("DELETE", "/_faults"): lambda query, body: self._behave(),
            ("GET", "/_clock"): lambda query, body: self._clock(),
            ("POST", "/_clock"): lambda query, body: self._set_clock(json.loads(body)),
            ("GET", "/_truth"): lambda query, body: self._truth(parse_qs(query)),
            ("GET", "/_wires"): lambda query, body: store.wires(),
            ("GET", "/_deliveries"): lambda query, body: deliveries.show(),
            ("POST", "/_deliveries"): lambda query, body: deliveries.configure(json.loads(body)),
        }

    async def turn(self, method: str, path: str, query: str, body: bytes) -> object:
        """What the control shows afterwards. Raises `Unknown` and `ValueError`."""
        if (method, path) == ("POST", "/_deliveries/flush"):
            return await self._deliveries.flush(json.loads(body or b"{}"))
        turn = self._turns.get((method, path))
        if turn is None:
            raise Unknown(f"no {method} {path}; see /_faults /_clock /_truth /_wires /_deliveries")
        return turn(query, body)

    def _behave(self) -> list[Json]:
        self._faults.clear()
        return []

    def _clock(self) -> Json:
        return {"now": self._store.now(), "offset": self._store.offset}

    def _set_clock(self, posted: object) -> Json:
        """`{"advance": seconds}` moves the clock, `{"offset": seconds}` sets it.

        All that became due has happened when this returns.
        """
        match posted:
            case {"advance": int(seconds)}:
                self._store.set_offset(self._store.offset + seconds)
            case {"offset": int(seconds)}:
                self._store.set_offset(seconds)
            case _:
                raise ValueError('post {"advance": seconds} or {"offset": seconds}')
        catch_up(self._store)
        self._deliveries.wake()
        return self._clock()

    def _truth(self, query: Mapping[str, list[str]]) -> Json:
        (kind,) = query.get("type", [None])
        if kind is not None and kind not in INDEXED:
            raise ValueError(f"type is one of {', '.join(INDEXED)}")
        return self._store.truth(kind)
