"""`Schedules`: what a program starts by the clock, declared in its code or stored as its users' data."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypedDict, TypeVar, TypeVarTuple, Unpack

from troth.base import codec, ids
from troth.base.errors import UnknownWorkflowError, UsageError
from troth.journal.model import Place
from troth.journal.starts import start_digest
from troth.schedule import acts, rules, store
from troth.schedule.model import Declaration, Due, Missed, Overlap, Terms
from troth.schedule.relay import ScheduleRelay
from troth.schedule.store import NewRun, Stored
from troth.store.parts import Relay
from troth.store.plan import Plan, carry_out, carry_out_blocking
from troth.store.queries import Queries
from troth.store.tx import BlockingTx, Tx
from troth.workflow.definition import Workflow
from troth.workflow.queue import check_place

R = TypeVar("R")
Ts = TypeVarTuple("Ts")
WorkflowT = TypeVar("WorkflowT", bound=Callable[..., Coroutine[Any, Any, Any]])
Args = Callable[[datetime], Sequence[Any]]

_SAMPLE: Final = datetime(2000, 1, 1, tzinfo=UTC)
_TERMS: Final = ("overlap", "catch_up", "missed", "jitter")


class Options(TypedDict, total=False):
    """What becomes of firings that come at a bad time, and where their runs stand in line.

    *overlap*, if the run of the firing before has not ended: `skip` this one (the default), `queue` it until that has
    ended, `allow` both, or `cancel_previous`. *catch_up*: a firing may come so late, if no worker was there (1 hour).
    *missed*: of several that are to be made up for, only the `latest` (the default), or `all`. *jitter*: each firing
    begins somewhere within so long after its time (not at all). *partition* and *priority*: as in `troth.start`.
    """

    overlap: Overlap
    catch_up: timedelta
    missed: Missed
    jitter: timedelta
    partition: str | None
    priority: int


class Program(Protocol):
    """The `Troth` that the schedules belong to."""

    workflows: dict[str, Workflow[Any, Any]]
    cell: int


@dataclass(frozen=True, slots=True)
class _Declared:
    declaration: Declaration
    workflow: Workflow[Any, Any]
    args: Args | None


class Schedules:
    """The schedules of a program: `schedules = troth.include(Schedules(troth))`.

    Workers of the program fire those that it declares (`every`, `declare`), and those that are stored (`create`) for its
    workflows. Each firing is one run, however many workers there are, and whichever of them dies.
    """

    name = "schedules"

    def __init__(self, program: Program) -> None:
        self._program = program
        self._schema: str | None = None
        self._declared: dict[str, _Declared] = {}

    def bind(self, schema: str) -> None:
        """Work with the tables of this schema from now on."""
        self._schema = schema

    @property
    def relays(self) -> Sequence[Relay]:
        """What workers do: fire what is due."""
        return [ScheduleRelay(self, self._q, self._program.cell)]

    @property
    def _q(self) -> Queries:
        if self._schema is None:
            raise UsageError("these schedules belong to no program yet: troth.include(schedules)")
        return store.queries(self._schema)

    # In code --------------------------------------------------------------------------------------------------------------

    def every(
        self,
        cron: str,
        *,
        tz: str = "UTC",
        name: str | None = None,
        args: Args | None = None,
        revision: str = "",
        **options: Unpack[Options],
    ) -> Callable[[WorkflowT], WorkflowT]:
        """Declare a schedule of a workflow, above `@troth.workflow`: as `declare`, and named like the workflow."""

        def attach(workflow: WorkflowT) -> WorkflowT:
            named = name or self._own(workflow).name
            self._add(named, workflow, args, Terms(cron, tz), revision, options)
            return workflow

        return attach

    def declare(
        self,
        name: str,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        cron: str,
        *,
        tz: str = "UTC",
        args: Callable[[datetime], tuple[*Ts]] | None = None,
        revision: str = "",
        **options: Unpack[Options],
    ) -> None:
        """Declare a schedule: at each time of *cron* on the wall clock of *tz*, one run of *workflow*.

        *args* makes its arguments of the time that the run is for, in the schedule's zone. *revision*: change it when
        nothing else but *args* has changed, so that only workers with the new code fire. *options*: see `Options`.
        Raises `UsageError`; `CronError` for an expression or a zone that cannot be.
        """
        self._add(name, workflow, args, Terms(cron, tz), revision, options)

    def _add(
        self,
        name: str,
        workflow: Callable[..., Coroutine[Any, Any, Any]],
        args: Args | None,
        times: Terms,
        revision: str,
        options: Options,
    ) -> None:
        rules.check_name(name)
        own = self._own(workflow)
        terms, partition, priority = _checked(own, times, options)
        if name in self._declared:
            raise UsageError(f"there are two schedules named {name}; give one of them name=")
        if args is None:
            own.arguments.encode((), {})  # without, it has to go without arguments
        digest = rules.digest(own.name, terms, partition, priority, revision)
        declaration = Declaration(name, own.name, terms, partition, priority, digest)
        self._declared[name] = _Declared(declaration, own, args)

    def _own(self, workflow: Callable[..., Coroutine[Any, Any, Any]]) -> Workflow[Any, Any]:
        if not isinstance(workflow, Workflow):
            msg = f"{workflow!r} is not a workflow: put @troth.workflow below the schedule"
            raise UsageError(msg)
        if self._program.workflows.get(workflow.name) is not workflow:
            raise UnknownWorkflowError(f"{workflow.name} is a workflow of another Troth")
        return workflow

    # As data --------------------------------------------------------------------------------------------------------------

    async def create(
        self,
        tx: Tx,
        name: str,
        workflow: Workflow[..., Any],
        cron: str,
        *,
        tz: str = "UTC",
        args: Mapping[str, Any] | None = None,
        time_in: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Store a schedule in the transaction *tx*: it exists if and only if that commits.

        *args*: the workflow's arguments by name. *time_in*: the parameter that gets the time that a run is for, a
        `datetime`. Raises `ScheduleExistsError`, `UsageError`, `CronError`, and `PayloadError` for wrong arguments.
        """
        made = self._stored(workflow, Terms(cron, tz), args or {}, time_in, options)
        await carry_out(tx, self._create(name, made))

    def create_blocking(
        self,
        tx: BlockingTx,
        name: str,
        workflow: Workflow[..., Any],
        cron: str,
        *,
        tz: str = "UTC",
        args: Mapping[str, Any] | None = None,
        time_in: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """As `create`, from a thread."""
        made = self._stored(workflow, Terms(cron, tz), args or {}, time_in, options)
        carry_out_blocking(tx, self._create(name, made))

    async def change(
        self,
        tx: Tx,
        name: str,
        *,
        cron: str | None = None,
        tz: str | None = None,
        args: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Give a stored schedule another time, other arguments or other options; what is left out stays.

        Raises `ScheduleNotFoundError`, and `DeclaredScheduleError` for one that is declared in code.
        """
        await carry_out(tx, self._change(name, cron, tz, args, options))

    def change_blocking(
        self,
        tx: BlockingTx,
        name: str,
        *,
        cron: str | None = None,
        tz: str | None = None,
        args: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """As `change`, from a thread."""
        carry_out_blocking(tx, self._change(name, cron, tz, args, options))

    async def delete(self, tx: Tx, name: str) -> None:
        """Forget a stored schedule and its history; runs that it has started go on. Raises as `change`."""
        await carry_out(tx, store.delete(self._q, name))

    def delete_blocking(self, tx: BlockingTx, name: str) -> None:
        """As `delete`, from a thread."""
        carry_out_blocking(tx, store.delete(self._q, name))

    async def pause(self, tx: Tx, name: str, *, by: str, note: str | None = None) -> None:
        """Let a schedule rest. Raises `ScheduleNotFoundError`."""
        await carry_out(tx, store.pause(self._q, name, by, note))

    async def resume(self, tx: Tx, name: str, *, by: str, note: str | None = None) -> None:
        """Let it go on; firings that it has slept through are not made up for. Raises `ScheduleNotFoundError`."""
        await carry_out(tx, store.resume(self._q, name, by, note))

    async def run(self, tx: Tx, name: str, *, by: str, note: str | None = None) -> None:
        """Fire once now, whatever its times and overlap; also a paused one. Raises `ScheduleNotFoundError`."""
        await carry_out(tx, store.wish(self._q, name, None, by, note))

    async def backfill(
        self,
        tx: Tx,
        name: str,
        since: datetime,
        until: datetime,
        *,
        by: str,
        note: str | None = None,
    ) -> int:
        """Fire for all its times from *since* to *until*, up to 1000; how many. A time that was fired is not fired again.

        Raises `ScheduleNotFoundError`, and `UsageError` for more times, and for an end that has not come yet.
        """
        found = await carry_out(tx, acts.backfill(self._q, name, since, until, by, note))
        return len(found)

    def _create(self, name: str, made: Stored) -> Plan[None]:
        rules.check_name(name)
        yield from store.create(self._q, name, made)

    def _change(
        self,
        name: str,
        cron: str | None,
        tz: str | None,
        args: Mapping[str, Any] | None,
        options: Options,
    ) -> Plan[None]:
        held = yield from store.hold(self._q, name)
        old = held.stored
        workflow = self._program.workflows.get(old.workflow)
        if workflow is None:
            raise UnknownWorkflowError(
                f"schedule {name}: this Troth has no workflow {old.workflow}"
            )
        known = {key: getattr(old.terms, key) for key in _TERMS}
        places = {"partition": old.partition, "priority": old.priority}
        merged: Any = {**known, **places, **options}
        times = Terms(cron or old.terms.cron, tz or old.terms.tz)
        given = codec.decode(old.input) if args is None and old.input else (args or {})
        made = self._stored(workflow, times, given, old.time_in, merged)
        yield from store.change(self._q, name, held, made)

    def _stored(
        self,
        workflow: Workflow[..., Any],
        times: Terms,
        args: Mapping[str, Any],
        time_in: str | None,
        options: Options,
    ) -> Stored:
        own = self._own(workflow)
        terms, partition, priority = _checked(own, times, options)
        sample = {time_in: _SAMPLE} if time_in else {}
        if time_in in args:
            raise UsageError(f"{time_in} is given by time_in= and in args=")
        own.arguments.decode(own.arguments.encode((), {**args, **sample}))
        return Stored(own.name, terms, codec.encode(dict(args)), time_in, partition, priority)

    # For the relay --------------------------------------------------------------------------------------------------------

    @property
    def workflows(self) -> Sequence[str]:
        """The names of those that the program has."""
        return list(self._program.workflows)

    @property
    def declarations(self) -> Mapping[str, Declaration]:
        """The schedules that the program declares, by name."""
        return {name: each.declaration for name, each in self._declared.items()}

    def run_of(self, due: Due, at: datetime) -> NewRun:
        """The run of a firing. Raises what the user's *args* raises, and `PayloadError`."""
        local = at.astimezone(rules.zone(due.terms.tz))
        if due.declared:
            mine = self._declared[due.name]
            workflow, given = mine.workflow, mine.args(local) if mine.args else ()
            payload = workflow.arguments.encode(tuple(given), {})
        else:
            workflow = self._program.workflows[due.workflow]
            named = codec.decode(due.input or b"{}")
            if due.time_in:
                named[due.time_in] = local
            payload = workflow.arguments.encode((), named)
        workflow.arguments.decode(
            payload
        )  # a wrong type is told here, and not by a run that cannot begin
        queue = workflow.queue
        place = Place(queue.name, due.partition or "", due.priority) if queue else None
        return NewRun(
            ids.new_id(self._program.cell),
            workflow.name,
            rules.start_key(due.name, at),
            payload,
            start_digest(workflow.name, payload),
            place,
        )


def _checked(
    workflow: Workflow[Any, Any], times: Terms, options: Options
) -> tuple[Terms, str | None, int]:
    """The terms with all options, the partition and the priority. Raises `UsageError`."""
    chosen: Any = {key: value for key, value in options.items() if key in _TERMS}
    unknown = set(options) - set(_TERMS) - {"partition", "priority"}
    if unknown:
        raise UsageError(f"a schedule has no option {', '.join(sorted(unknown))}")
    terms = replace(times, **chosen)
    rules.check(terms)
    partition, priority = options.get("partition"), options.get("priority", 0)
    check_place(workflow.name, workflow.queue, priority, partition)
    return terms, partition, priority
