"""Machines as users have them: declared once, included in a `Troth`, and used in their transactions.

Every verb has a twin for threads (`fire`, `fire_blocking`); both carry out one plan. Creating, observing and firing an
event without a guard take one round trip, an event with a guard two: its guard is told where the object stands, so that
is read, and held, first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.base.errors import UsageError
from troth.machine import draw, refusals, rules, store
from troth.machine.model import Entry, Fired, Firing, Standing, Transition
from troth.store.parts import Relay
from troth.store.plan import Plan, carry_out, carry_out_blocking
from troth.store.queries import Queries
from troth.store.tx import BlockingTx, Tx

MOST_ROWS = 1000


class Machine:
    """States, events, and which event leads from which state to which.

    *final*: the states in which an object ends; exactly those that nothing leads away from. *states*: all of them, if you
    want them checked against the transitions; a StrEnum is such a list. Raises `UsageError` if the declaration
    contradicts itself, or has states that cannot be reached.

    A *cause* (of every verb that changes something) says what made it happen: `run:…`, the id of a provider's event. It
    counts once per object; the same cause again gives the first answer. *version* orders what another system says: a
    number that grows with every change there. What is not newer than what the object has seen changes nothing. *by*,
    *why* and *data* (JSON, up to 16 KiB) are kept in the history.
    """

    def __init__(
        self,
        name: str,
        *,
        initial: str,
        transitions: Iterable[Transition],
        final: Iterable[str] = (),
        states: Iterable[str] | None = None,
    ) -> None:
        self.declaration = rules.declare(name, initial, final, transitions, states)
        self._moves = {
            event: rules.moves_by(self.declaration, event) for event in self.declaration.events
        }
        self._moves_json = {event: _json(moves) for event, moves in self._moves.items()}
        self._guarded = {event for _, event in self.declaration.guards}
        self._observing: dict[str, tuple[str, str]] = {}
        self._schema: str | None = None

    def __repr__(self) -> str:
        return f"<machine {self.name}>"

    @property
    def name(self) -> str:
        """Its name among the machines of a schema."""
        return self.declaration.name

    @property
    def relays(self) -> Sequence[Relay]:
        """None: whatever happens to an object happens in somebody's transaction."""
        return ()

    def bind(self, schema: str) -> None:
        """Work with the tables of this schema from now on. `Troth.include` calls it."""
        self._schema = schema

    # Changing ---------------------------------------------------------------------------------------------------------

    async def create(
        self, tx: Tx, object_id: str | UUID, *, cause: str, by: str | None = None, why: str | None = None, data: Any = None
    ) -> Fired:  # fmt: skip
        """Make an object, in the initial state.

        Raises `ObjectExistsError` if another cause has made it, and `CauseConflictError`.
        """
        return await carry_out(tx, self._create(object_id, cause, by, why, data))

    def create_blocking(
        self, tx: BlockingTx, object_id: str | UUID, *, cause: str, by: str | None = None, why: str | None = None, data: Any = None
    ) -> Fired:  # fmt: skip
        """As `create`, from a thread."""
        return carry_out_blocking(tx, self._create(object_id, cause, by, why, data))

    async def fire(
        self, tx: Tx, object_id: str | UUID, event: str, *, cause: str, version: int | None = None, by: str | None = None,
        why: str | None = None, data: Any = None,
    ) -> Fired:  # fmt: skip
        """Let *event* happen to an object.

        Raises, with nothing written: `IllegalTransitionError`, which lists what is legal; `EarlyEventError`, one of them,
        if it can become legal; `GuardRefusedError`, one of them, too; `UnknownObjectError`; `CauseConflictError`.
        """
        return await carry_out(tx, self._fire(object_id, event, cause, version, by, why, data))

    def fire_blocking(
        self, tx: BlockingTx, object_id: str | UUID, event: str, *, cause: str, version: int | None = None, by: str | None = None,
        why: str | None = None, data: Any = None,
    ) -> Fired:  # fmt: skip
        """As `fire`, from a thread."""
        return carry_out_blocking(tx, self._fire(object_id, event, cause, version, by, why, data))

    async def observe(
        self, tx: Tx, object_id: str | UUID, state: str, *, version: int, cause: str, by: str | None = None,
        why: str | None = None, data: Any = None,
    ) -> Fired:  # fmt: skip
        """Take over what another system, whose truth this is, says: as of *version* the object is in *state*.

        Any state is legal to which there is a way, however long: the events on it may have been lost. Guards are not asked.
        An object that is not there is created in *state*. Raises, with nothing written: `IllegalTransitionError` and
        `CauseConflictError`.
        """
        return await carry_out(tx, self._observe(object_id, state, version, cause, by, why, data))

    def observe_blocking(
        self, tx: BlockingTx, object_id: str | UUID, state: str, *, version: int, cause: str, by: str | None = None,
        why: str | None = None, data: Any = None,
    ) -> Fired:  # fmt: skip
        """As `observe`, from a thread."""
        return carry_out_blocking(
            tx, self._observe(object_id, state, version, cause, by, why, data)
        )

    # Looking ----------------------------------------------------------------------------------------------------------

    async def state(self, tx: Tx, object_id: str | UUID) -> str:
        """The state that an object is in. Raises `UnknownObjectError`."""
        return (await carry_out(tx, self._look(object_id, hold=False))).state

    def state_blocking(self, tx: BlockingTx, object_id: str | UUID) -> str:
        """As `state`, from a thread."""
        return carry_out_blocking(tx, self._look(object_id, hold=False)).state

    async def standing(self, tx: Tx, object_id: str | UUID, *, hold: bool = False) -> Standing:
        """Where an object stands. *hold*: and it stays so until this transaction ends. Raises `UnknownObjectError`."""
        return await carry_out(tx, self._look(object_id, hold=hold))

    def standing_blocking(
        self, tx: BlockingTx, object_id: str | UUID, *, hold: bool = False
    ) -> Standing:
        """As `standing`, from a thread."""
        return carry_out_blocking(tx, self._look(object_id, hold=hold))

    async def history(
        self, tx: Tx, object_id: str | UUID, *, limit: int = 100, before: int | None = None
    ) -> list[Entry]:
        """The latest entries of an object, the latest first; *before*: those with a smaller `seq`."""
        return await carry_out(tx, self._history(object_id, limit, before))

    def history_blocking(
        self, tx: BlockingTx, object_id: str | UUID, *, limit: int = 100, before: int | None = None
    ) -> list[Entry]:
        """As `history`, from a thread."""
        return carry_out_blocking(tx, self._history(object_id, limit, before))

    async def where(
        self, tx: Tx, state: str, *, limit: int = 100, after: str | None = None
    ) -> list[Standing]:
        """The objects in a state, by their ids; *after*: the next page, from the last id of the page before."""
        return await carry_out(tx, self._where(state, limit, after))

    def where_blocking(
        self, tx: BlockingTx, state: str, *, limit: int = 100, after: str | None = None
    ) -> list[Standing]:
        """As `where`, from a thread."""
        return carry_out_blocking(tx, self._where(state, limit, after))

    async def forget(self, tx: Tx, keep: timedelta, *, limit: int = 10_000) -> int:
        """Forget entries of history that are older than *keep*, at most *limit*; how many.

        Objects stay, each with its latest entry. A cause that is forgotten counts as new: keep more than anybody delivers again.
        """
        return await carry_out(tx, self._forget(keep, limit))

    def forget_blocking(self, tx: BlockingTx, keep: timedelta, *, limit: int = 10_000) -> int:
        """As `forget`, from a thread."""
        return carry_out_blocking(tx, self._forget(keep, limit))

    # Drawing ----------------------------------------------------------------------------------------------------------

    def mermaid(self) -> str:
        """The machine as a Mermaid state diagram."""
        return draw.mermaid(self.declaration)

    def svg(self, counts: Mapping[str, object] | None = None) -> str:
        """The machine as a picture: one SVG element, for light and dark pages.

        *counts*: how many objects are in a state, by its name, to be written below it.
        """
        return draw.svg(self.declaration, counts or {})

    # Plans ------------------------------------------------------------------------------------------------------------

    def _create(
        self, object_id: str | UUID, cause: str, by: str | None, why: str | None, data: Any
    ) -> Plan[Fired]:
        params = self._params(object_id, cause, None, by, why, data)
        params |= {"begin": self.declaration.initial, "moves": "{}"}
        answer = yield from store.move(self._q, params)
        refusals.require_created(self.declaration, params, answer)
        return _fired(params["id"], answer)

    def _fire(
        self, object_id: str | UUID, event: str, cause: str, version: int | None, by: str | None, why: str | None, data: Any
    ) -> Plan[Fired]:  # fmt: skip
        params = self._params(object_id, cause, version, by, why, data)
        event = self._known(event, "event", self._moves)
        params |= {"event": event, "moves": self._moves_json[event]}
        reason = None
        if event in self._guarded:
            reason = yield from self._ask(params, event, data)
            if reason is not None:  # it may be late or repeated: then nobody wants to know
                params["moves"] = "{}"
        answer = yield from store.move(self._q, params)
        refusals.require_fired(self.declaration, params, answer, reason)
        return _fired(params["id"], answer)

    def _ask(self, params: dict[str, Any], event: str, data: Any) -> Plan[str | None]:
        """What the guard says, if there is one on this way; the object is held from now on."""
        object_id = params["id"]
        looked = yield from store.look(self._q, self.name, object_id, hold=True)
        if looked is None:
            raise refusals.unknown(self.declaration, object_id)
        standing, now = looked
        guard = self.declaration.guards.get((standing.state, event))
        if guard is None:
            return None
        return guard(
            Firing(
                machine=self.name, id=object_id, event=event, state=standing.state,
                to=self._moves[event][standing.state], version=params["version"], since=standing.since, now=now,
                cause=params["cause"], by=params["by"], data=data,
            )
        )  # fmt: skip

    def _observe(
        self, object_id: str | UUID, state: str, version: int, cause: str, by: str | None, why: str | None, data: Any
    ) -> Plan[Fired]:  # fmt: skip
        params = self._params(object_id, cause, version, by, why, data)
        if version is None:
            raise UsageError(
                f"{self!r}: an observation needs a version: without, nobody knows which is later"
            )
        state = self._known(state, "state", self.declaration.states)
        moves, paths = self._ways_to(state)
        params |= {"observed": state, "begin": state, "moves": moves, "paths": paths}
        answer = yield from store.move(self._q, params)
        refusals.require_observed(self.declaration, params, answer)
        return _fired(params["id"], answer)

    def _look(self, object_id: str | UUID, *, hold: bool) -> Plan[Standing]:
        object_id = rules.check_id(_text(object_id), repr(self))
        looked = yield from store.look(self._q, self.name, object_id, hold=hold)
        if looked is None:
            raise refusals.unknown(self.declaration, object_id)
        return looked[0]

    def _history(self, object_id: str | UUID, limit: int, before: int | None) -> Plan[list[Entry]]:
        object_id = rules.check_id(_text(object_id), repr(self))
        return (yield from store.history(self._q, self.name, object_id, before, self._page(limit)))

    def _where(self, state: str, limit: int, after: str | None) -> Plan[list[Standing]]:
        state = self._known(state, "state", self.declaration.states)
        return (
            yield from store.standing_in(self._q, self.name, state, after or "", self._page(limit))
        )

    def _forget(self, keep: timedelta, limit: int) -> Plan[int]:
        if keep < timedelta(0) or limit < 1:
            raise UsageError(f"{self!r}: keep is a length of time, and limit at least 1")
        return (yield from store.forget(self._q, self.name, keep.total_seconds(), limit))

    # Arguments --------------------------------------------------------------------------------------------------------

    @property
    def _q(self) -> Queries:
        if self._schema is None:
            msg = f"{self!r} belongs to no Troth: write `{self.name} = troth.include(Machine(…))`"
            raise UsageError(msg)
        return store.queries(self._schema)

    def _params(
        self, object_id: str | UUID, cause: str, version: int | None, by: str | None, why: str | None, data: Any
    ) -> dict[str, Any]:  # fmt: skip
        me = repr(self)
        return {
            "machine": self.name,
            "id": rules.check_id(_text(object_id), me),
            "event": None,
            "observed": None,
            "begin": None,
            "paths": None,
            "version": rules.check_version(version, me),
            "cause": rules.check_cause(cause, me),
            "by": rules.check_note(by, f"{me}: by"),
            "why": rules.check_note(why, f"{me}: why"),
            "data": rules.encode_data(data, me),
        }

    def _known(self, name: str, what: str, among: Iterable[str]) -> str:
        if name not in among:
            msg = f"{self!r} has no {what} {str(name)!r}; it has {', '.join(map(repr, among))}"
            raise UsageError(msg)
        return str.__str__(name)

    def _ways_to(self, state: str) -> tuple[str, str]:
        """The moves and the paths of an observation, as JSON."""
        found = self._observing.get(state)
        if found is None:
            ways = rules.ways_to(self.declaration, state)
            found = self._observing[state] = (_json(dict.fromkeys(ways, state)), _json(ways))
        return found

    def _page(self, limit: int) -> int:
        if not 1 <= limit <= MOST_ROWS:
            raise UsageError(
                f"{self!r}: limit is 1 to {MOST_ROWS}, not {limit}; then ask for the next page"
            )
        return limit


def _text(object_id: str | UUID) -> str:
    return str(object_id) if isinstance(object_id, UUID) else object_id


def _json(value: Any) -> str:
    return codec.encode(value).decode()


def _fired(object_id: str, answer: store.Answer) -> Fired:
    return Fired(
        id=object_id, from_state=answer.from_state, state=answer.to_state, seq=answer.seq, version=answer.version,
        at=answer.at, repeated=answer.outcome == "repeated", superseded=answer.superseded, path=answer.path,
    )  # fmt: skip
