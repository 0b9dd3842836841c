"""`Troth`: the one object that a program makes. It holds definitions, and opens nothing by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    TypeVar,
    TypeVarTuple,
    overload,
)
from uuid import UUID

from troth.base import codec, ids, resources, settings
from troth.base.errors import RunCancelledError, RunFailedError, UnknownWorkflowError, UsageError
from troth.base.telemetry import Listener, Telemetry
from troth.journal.model import CANCEL_TOPIC, Place, RunState
from troth.store.parts import Part
from troth.store.tx import Tx
from troth.workflow import context, family
from troth.workflow.decorators import Definitions
from troth.workflow.definition import Workflow
from troth.workflow.failures import restore_answer
from troth.workflow.given import (
    addressee,
    check_key,
    check_message_key,
    check_tx,
    deadline_s,
    run_id_of,
    time_s,
)
from troth.workflow.groups import Group
from troth.workflow.mapping_runs import mapping_workflows
from troth.workflow.queue import check_place
from troth.workflow.runloop import current_branch
from troth.workflow.sending import send_here, sending
from troth.workflow.topics import Topic, as_topic
from troth.workflow.words import Words

if TYPE_CHECKING:
    from troth.base.events import Event
    from troth.journal.model import EndedRun, Standing
    from troth.worker.node import Node, NodeOptions
    from troth.workflow.family import OwnEnd

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")
PartT = TypeVar("PartT", bound=Part)
ListenerT = TypeVar("ListenerT", bound=Listener)


class Run(Generic[R]):
    """A handle on one run. It holds no connection; many handles may be on one run."""

    def __init__(
        self,
        troth: Troth,
        run_id: UUID,
        workflow: Workflow[Any, R] | None = None,
        end: OwnEnd | None = None,
    ) -> None:
        self._troth = troth
        self._workflow = workflow
        self._end = end  # of a child, in the code of its parent
        self.id = run_id

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    async def result(self, timeout: float | timedelta | None = None) -> R:
        """What the workflow returned.

        Raises `RunFailedError` (its cause is the business answer), `RunCancelledError`, `RunNotFoundError`, and
        `TimeoutError` when it has not ended within *timeout* seconds; a run that needs attention has not ended. A run
        that went on as another one (`troth.continue_as`) ends with that.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        branch = current_branch.get()
        if branch is not None:
            value: R = await family.result_here(branch, self.id, self._workflow, self._end, seconds)
            return value
        results = self._troth.node.results
        try:
            async with asyncio.timeout(seconds):
                ended = await results.wait(self.id)
        except TimeoutError:
            stands = await results.where(self.id)
            raise TimeoutError(
                f"run {self.id} has not ended within {seconds} s: {stands}"
            ) from None
        return self._unwrap(ended)

    async def progress(self) -> Any:
        """What the run said last of how far it is (`troth.progress`), at most about a second ago; None: nothing.

        It is forgotten when the run ends. Raises `RunNotFoundError`.
        """
        return _update(await self._troth.node.results.watches.now(self.id)).progress

    async def watch(self) -> AsyncGenerator[Update]:
        """`async for update in run.watch():` where the run stands and how far it is, and again when that is another.

        Ends after the update that says how it ended. Who is slow misses what was in between, not the latest. Raises
        `RunNotFoundError`.
        """
        async with aclosing(self._troth.node.results.watches.watch(self.id)) as standings:
            async for standing in standings:
                yield _update(standing)

    async def cancel(self) -> None:
        """Ask the run to stop: accepted means that it will end as cancelled, or has ended. Raises `RunEndedError`."""
        branch = current_branch.get()
        if branch is not None:
            step = self._troth._sending  # noqa: SLF001  (its own)
            await send_here(branch, step, self.id, None, CANCEL_TOPIC, b"null", None)
            return
        await self._troth.node.requests.send(self.id, None, CANCEL_TOPIC, b"null")

    def _unwrap(self, ended: EndedRun) -> R:
        if ended.state is RunState.CANCELLED:
            raise RunCancelledError(self.id)
        outcome = ended.outcome or b"null"
        if ended.state is RunState.FAILED:
            answer = codec.decode(outcome)
            raise RunFailedError(self.id, answer["type"], answer["message"]) from restore_answer(
                outcome, self._troth.answers
            )
        # A start key may belong to a run of another version than the one that was to be started.
        workflow = self._troth.every_workflow.get(ended.workflow, self._workflow)
        value: R = workflow.result.decode(outcome) if workflow else codec.decode(outcome)
        return value


@dataclass(frozen=True, slots=True)
class Update:
    """Where a run stands: its state, why (in attention), and what it said last of how far it is."""

    state: str
    reason: str | None
    progress: Any


def _update(standing: Standing) -> Update:
    said = None if standing.payload is None else codec.decode(standing.payload)
    return Update(standing.state.value, standing.reason, said)


class Troth(Definitions, Words):
    """The workflows and steps of a program, and the way to run them.

    *url*: the PostgreSQL to use; without it `TROTH_DATABASE_URL`, then libpq's `PG*` variables, then an embedded server
    of the project's own in *directory*. *schema*: where troth keeps its tables. *cell*: the number (0 to 16383) that the
    ids of runs started here carry; one cell is one schema. What is left out is what the environment says (`TROTH_SCHEMA`,
    `TROTH_CELL`, `TROTH_DIRECTORY`), or the default: docs/reference/settings.md. Raises `UsageError` for what cannot be.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        schema: str | None = None,
        cell: int | None = None,
        directory: Path | str | None = None,
    ) -> None:
        said = settings.read()
        cell = said.cell if cell is None else cell
        if not 0 <= cell <= ids.MAX_CELL:
            msg = f"a cell is a number from 0 to {ids.MAX_CELL}, not {cell}"
            raise UsageError(msg)
        super().__init__()
        self.url = url
        self.schema = said.schema if schema is None else schema
        self.cell = cell
        self.directory = said.directory if directory is None else Path(directory)
        self._nodes: dict[asyncio.AbstractEventLoop, Node] = {}
        self._parts: dict[tuple[type, str], Part] = {}
        self.telemetry = Telemetry()
        self._sending = sending(lambda: self.schema, self.telemetry)

    def include(self, part: PartT) -> PartT:
        """Make a definition of a room (a machine, an inbox …) or a `Group` part of this program; gives back *part*.

        It works with the tables of this Troth's schema then, and workers do what is to be done for it. Raises
        `UsageError` if another one of its kind has the same name.
        """
        if isinstance(part, Group) and (Group, part.name) not in self._parts:
            part.join(self)
        known = self._parts.setdefault((type(part), part.name), part)
        if known is not part:
            msg = f"there are two of {type(part).__name__} named {part.name}"
            raise UsageError(msg)
        part.bind(self.schema)
        return part

    @cached_property
    def own_workflows(self) -> dict[str, Workflow[Any, Any]]:
        """Those of `troth.map`."""
        return mapping_workflows(self)

    @property
    def parts(self) -> Sequence[Part]:
        """What it includes, in the order in which it was included."""
        return tuple(self._parts.values())

    def listen(self, listener: ListenerT, /, *kinds: type[Event]) -> ListenerT:
        """Call *listener* with what happens in this process: each event of these *kinds* (`troth.events`), or each event.

        It is called where and when that happens, also from other threads, and must be quick: runs wait for it. What it
        raises is logged, and does no harm. Gives *listener* back, so it may decorate a function.
        """
        self.telemetry.listen(listener, *kinds)
        return listener

    # Running ----------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Troth]:
        """Start runs and wait for them, in this event loop. Raises `StoreError` if the database is not usable."""
        async with self._open(executes=False, options=None):
            yield self

    @asynccontextmanager
    async def worker(self, options: NodeOptions | None = None) -> AsyncIterator[Troth]:
        """Execute runs in this event loop, and start them. On leaving, running steps end and the rest is handed over."""
        async with self._open(executes=True, options=options):
            yield self

    @asynccontextmanager
    async def lifespan(self, _application: object) -> AsyncIterator[None]:
        """A client for the lifetime of an ASGI application: `FastAPI(lifespan=troth.lifespan)`."""
        async with self.client():
            yield

    @asynccontextmanager
    async def _open(self, *, executes: bool, options: NodeOptions | None) -> AsyncIterator[None]:
        # Imported here: psycopg costs 150 ms, which the help of a command line need not pay.
        from troth.store.connect import Database
        from troth.store.migrate import migrate
        from troth.worker.node import Node, NodeOptions

        settings.warn_of_unknown()
        self.require_rules()
        loop = asyncio.get_running_loop()
        if loop in self._nodes:
            msg = "this Troth is open already in this event loop"
            raise UsageError(msg)
        database = await asyncio.to_thread(Database.find, self.url, self.directory)
        try:
            if database.origin == "embedded":
                await asyncio.to_thread(migrate, database.url, self.schema)
            opened = resources.OpenResources(self.resources)
            node = Node(
                database.url,
                self.schema,
                self.cell,
                self.every_workflow,
                options or NodeOptions(),
                executes=executes,
                relays=[relay for part in self.parts for relay in part.relays],
                resources=opened,
                telemetry=self.telemetry,
            )
            self._nodes[loop] = node
            try:
                await node.open()
                yield
            finally:
                del self._nodes[loop]
                await node.close()
                await opened.close()
        finally:
            await asyncio.to_thread(database.close)

    @property
    def node(self) -> Node:
        """The open client or worker of the running event loop. Raises `UsageError` if there is none."""
        if current_branch.get() is not None:
            msg = "workflow code cannot do this itself: do it in a step"
            raise UsageError(msg)
        node = self._nodes.get(asyncio.get_running_loop())
        if node is None:
            msg = "nothing is open in this event loop: use `async with troth.client():` (or worker, or lifespan)"
            raise UsageError(msg)
        return node

    async def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        key: str | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        partition: str | None = None,
        deadline: datetime | timedelta | None = None,
        detached: bool = False,
        tx: Tx | None = None,
    ) -> Run[R]:
        """Start a run of *workflow* with *args*; when this returns, it is durable and will be executed.

        *key*: the same key gives the same run, however often and from wherever it is started; with another input it
        raises `KeyConflictError`. *at*: not before this time (with its zone). *priority* (-100 is first, 100 is last) and
        *partition* (whose run it is, for fairness): its place in the workflow's queue. *deadline*: a time, or so long after
        its start, by which it must have ended, else it fails with `RunTimedOutError` and is undone. *tx*: start it inside this
        transaction, so that it exists if and only if that commits; raises `ForeignTransactionError` if that is in another
        database. Raises `UsageError` or `PayloadError` for wrong arguments.

        In workflow code it is recorded, and the run is a child: it takes this one's priority and partition unless they are
        given, this one ends after it, and it is cancelled when this one is cancelled or fails; unless it is *detached*. There
        a `KeyConflictError` is a business answer.
        """
        if not isinstance(workflow, Workflow):
            msg = f"{workflow!r} is not a workflow: decorate it with @troth.workflow"
            raise UsageError(msg)
        if self.workflows.get(workflow.name) is not workflow:
            msg = f"{workflow.name} is a workflow of another Troth"
            raise UnknownWorkflowError(msg)
        at_s = time_s("at", at)
        until_s, within_s = deadline_s(deadline)
        check_key(key)
        check_place(workflow.name, workflow.queue, priority, partition)
        queue = workflow.queue
        place = Place(queue.name, partition or "", priority or 0) if queue else None
        payload = workflow.arguments.encode(args, {})
        if not workflow.arguments.are_plain(args, {}):
            workflow.arguments.decode(payload)  # a wrong type is told to the caller, not to the run
        branch = current_branch.get()
        if branch is not None:
            if tx is not None:
                raise UsageError("workflow code has no transaction: leave tx= out")
            order = family.Order(
                workflow, payload, key, at_s, priority, partition, until_s, within_s, detached
            )
            call = await family.start_here(branch, order)
            return Run(self, call.future.result()[0], workflow, call.end)
        if detached:
            raise UsageError("detached= is for runs that are started by workflow code")
        requests = self.node.requests
        if tx is None:
            run_id = await requests.start(workflow, payload, key, at_s, place, until_s, within_s)
        else:
            check_tx(tx)
            run_id = await requests.start_in(
                tx, workflow, payload, key, at_s, place, until_s, within_s
            )
        return Run(self, run_id, workflow)

    @overload
    def send(
        self,
        run: Run[Any] | UUID | str,
        topic: Topic[R],
        value: R,
        *,
        key: str | None = None,
        tx: Tx | None = None,
    ) -> Coroutine[Any, Any, None]: ...
    @overload
    def send(
        self,
        run: Run[Any] | UUID | str,
        topic: str,
        value: Any = None,
        *,
        key: str | None = None,
        tx: Tx | None = None,
    ) -> Coroutine[Any, Any, None]: ...
    def send(
        self,
        run: Run[Any] | UUID | str,
        topic: Topic[Any] | str,
        value: Any = None,
        *,
        key: str | None = None,
        tx: Tx | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Leave a message for a run, given by handle, id or start key; by start key, also before the run exists.

        *key*: the same key is the same message of this run and topic, however often it is sent and also after it was
        heard; with another value that is a `KeyConflictError`. *tx*: send it if and only if this transaction commits. In
        workflow code it is a recorded step: sent exactly once. Raises `RunEndedError` and `RunNotFoundError`.
        """
        said = as_topic(topic)
        run_id, start_key = addressee(run)
        check_message_key(key)
        payload = said.encode(value)
        branch = current_branch.get()
        if branch is not None:
            if tx is not None:
                raise UsageError(
                    "workflow code has no transaction: leave tx= out, or send in a transaction step"
                )
            return send_here(branch, self._sending, run_id, start_key, said.name, payload, key)
        requests = self.node.requests
        if tx is None:
            return requests.send(run_id, start_key, said.name, payload, key)
        check_tx(tx)
        return requests.send_in(tx, run_id, start_key, said.name, payload, key)

    def run(self, run_id: UUID | str) -> Run[Any]:
        """A handle on a run by its id; whether it exists is found out by using it. Raises `UsageError` for what is no id."""
        return Run(self, run_id_of(run_id))

    # For workflow code ------------------------------------------------------------------------------------------------

    now = staticmethod(context.now)
    uuid = staticmethod(context.uuid)
    random = staticmethod(context.random)
    sleep = staticmethod(context.sleep)
    saga = staticmethod(context.saga)

    @staticmethod
    def get(kind: type[R]) -> R:
        """The resource of this type, in the body of a step; in an effect `call.get` says the same.

        Raises `NotInRunError` elsewhere, and `UsageError` if there is none of this type.
        """
        if current_branch.get() is not None:
            msg = f"workflow code has no resources, since it is replayed: use {kind.__name__} in a step"
            raise UsageError(msg)
        return resources.get(kind)
