"""The first screen: what waits for a person, how much there is of what, what workers have done, what goes wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from troth.base import codec
from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.present import STATES
from troth.console.site import Visit
from troth.inbox.model import State as EventState
from troth.journal.model import RunState
from troth.outbox.model import State as DeliveryState
from troth.store.tx import Tx
from troth.view import attention, workers
from troth.view import overview as view
from troth.view.attention import AttentionFilter
from troth.view.filters import Criteria, Since
from troth.view.inbox import InboxFilter
from troth.view.outbox import EndpointFilter, OutboxFilter
from troth.view.overview import Chart, Counters, Span, Trouble
from troth.view.paging import Count
from troth.view.runs import RunFilter
from troth.view.workers import WorkerFilter

_FIRST = 5  # of what waits for a person
_AT_WORK = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """A counter. *href*: the list of what it counts, if this console has that screen."""

    label: str
    count: Count
    tone: str
    href: str | None


def ask(visit: Visit) -> Span:
    """What the address asks: how far back the charts go. Raises `UsageError`."""
    text = visit.asked("span") or Span.HOUR.value
    try:
        return Span(text)
    except ValueError:
        spans = ", ".join(Span)
        raise UsageError(f"there is no span {text!r}: there are {spans}") from None


async def read(tx: Tx, visit: Visit, span: Span) -> Mapping[str, Any]:
    """What the template shows."""
    schema = visit.site.schema
    found = await view.overview(tx, schema)
    chart = await view.minutes(tx, schema, span)
    processes = await workers.processes(tx, schema, WorkerFilter(executes=True), limit=_AT_WORK)
    versions = await workers.versions(tx, schema)
    return {
        "first": await attention.attention(tx, schema, limit=_FIRST),
        "alive": alive(visit, found.counters),
        "around": around(visit, found.counters),
        "reasons": found.counters.reasons,
        "oldest": found.oldest,
        "troubles": [(each, of_trouble(visit, each)) for each in found.troubles],
        "span": span,
        "spans": list(Span),
        "chart": chart,
        "charts": (throughput(chart), outcomes(chart)),
        "totals": totals(chart),
        "processes": processes.rows,
        "more_workers": found.counters.workers.n > len(processes.rows),
        "nobody": [each for each in versions if not each.workers],
        "workers_at": place(visit, "/workers"),
    }


# Links ----------------------------------------------------------------------------------------------------------------


def place(visit: Visit, path: str, which: Criteria | None = None) -> str | None:
    """The address of a list with its filter, if this console has that screen."""
    if all(page.path != path for page in visit.site.pages):
        return None
    return visit.href(path, which.to_query() if which is not None else ())


def alive(visit: Visit, counters: Counters) -> tuple[Tile, ...]:
    """The runs that are alive, by state."""
    states = (RunState.READY, RunState.RUNNING, RunState.WAITING, RunState.UNDOING)
    tiles = [
        Tile(
            state.value,
            counters.states.get(state, Count(0)),
            STATES[state][0],
            place(visit, "/runs", RunFilter(states=frozenset({state}))),
        )
        for state in states
    ]
    waits = counters.states.get(RunState.ATTENTION, Count(0))
    tiles.append(Tile("needs attention", waits, "bad", place(visit, "/attention")))
    return tuple(tiles)


def around(visit: Visit, counters: Counters) -> tuple[Tile, ...]:
    """What is not as it should be around the runs, and who executes them."""
    dead = OutboxFilter(states=frozenset({DeliveryState.DEAD, DeliveryState.IN_DOUBT}))
    quarantined = InboxFilter(states=frozenset({EventState.QUARANTINED}))
    told: Iterable[tuple[str, Count, str | None]] = (
        ("dead letters", counters.dead_letters, place(visit, "/outbox", dead)),
        ("events in quarantine", counters.quarantined, place(visit, "/inbox", quarantined)),
        (
            "endpoints off",
            counters.endpoints_off,
            place(visit, "/outbox/endpoints", EndpointFilter(failing=True)),
        ),
        ("breakers open", counters.breakers_open, place(visit, "/providers")),
    )
    tiles = [Tile(label, count, "bad" if count.n else "calm", href) for label, count, href in told]
    tone = "good" if counters.workers.n else "bad"
    tiles.append(
        Tile(
            "workers", counters.workers, tone, place(visit, "/workers", WorkerFilter(executes=True))
        )
    )
    return tuple(tiles)


def of_trouble(visit: Visit, trouble: Trouble) -> str | None:
    """The list of the runs that have this trouble, as closely as a filter can say it."""
    if trouble.reason is None:
        failed = frozenset({RunState.FAILED})
        which = RunFilter(states=failed, workflow=trouble.workflow, since=Since("24h"))
        return place(visit, "/runs", which)
    waits = AttentionFilter.from_query([("reason", trouble.reason), ("workflow", trouble.workflow)])
    return place(visit, "/attention", waits)


# Charts ---------------------------------------------------------------------------------------------------------------


def throughput(chart: Chart) -> str:
    """What was taken up, and what ended well."""
    return _drawn(chart, "Runs", (("started", "busy"), ("succeeded", "good")))


def outcomes(chart: Chart) -> str:
    """What ended otherwise."""
    series = (("failed", "rest"), ("cancelled", "calm"), ("attention", "bad"), ("unknown", "warn"))
    return _drawn(chart, "Not as hoped", series)


def _drawn(chart: Chart, title: str, series: tuple[tuple[str, str], ...]) -> str:
    points = chart.points[:-1]  # the last step is not over: it would look as if all had stopped
    told = {
        "title": title,
        "x": [int(point.at.timestamp()) for point in points],
        "series": [
            {"label": name, "tone": tone, "values": [getattr(point, name) for point in points]}
            for name, tone in series
        ],
    }
    return codec.encode(told).decode()


def totals(chart: Chart) -> Mapping[str, int]:
    """The same in numbers, of all steps together."""
    names = ("started", "succeeded", "failed", "cancelled", "attention", "unknown", "steps")
    return {name: sum(getattr(point, name) for point in chart.points) for name in names}


PAGE = Page(
    name="overview",
    path="/overview",
    heading="Overview",
    menu="Overview",
    key="o",
    ask=ask,
    read=read,
    topics=lambda _asked: ("attention", "inbox", "outbox", "traffic"),
    narrow="look at one list",
)
