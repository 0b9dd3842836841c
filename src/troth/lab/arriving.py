"""The part of `lab` that a test writes about what comes by itself: workers, deliveries, timers, queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from troth.lab.arrivals import Acks, Delivery, Handling, Round, Sign, Timed
from troth.lab.model import LabError
from troth.lab.provider import Events
from troth.lab.queue import Queue
from troth.lab.request import Call, HttpCall, always_again
from troth.lab.scenario import Scenario
from troth.lab.tables import Actor

if TYPE_CHECKING:
    from celery import Celery

    from troth.lab.celery import Tasks


class Arriving:
    """Fills a scenario with what is no user."""

    _scenario: Scenario

    def queue(self, name: str = "queue", *, ordered: bool = False) -> Queue:
        """A message queue: at least once, and in any order unless it is `ordered`.

        The code under test sends by `queue.send(message)` where its broker's client would be. `w.<name>.messages` are those that nobody
        has acknowledged.
        """
        made = Queue(name, ordered=ordered)
        self._scenario.queues.append(made)
        return made

    def celery(self, app: Celery, name: str = "celery") -> Tasks:
        """The broker of a Celery application: what its tasks' `delay`, `apply_async` and `retry` send waits there. `lab.workers` work it off.

        Raises:
            LabError: its tasks run where they are called (`task_always_eager`).
        """
        from troth.lab.celery import Tasks

        made = Tasks(app, name)
        self._scenario.queues.append(made)
        return made

    def workers(
        self,
        work: Queue | Callable[[], object],
        handler: Callable[..., object] | None = None,
        *,
        n: int = 2,
        acks: Acks = "late",
    ) -> None:
        """Workers: with a queue, one delivery is one attempt; without one, a function that looks for work by itself.

        Args:
            work: a queue (of Celery: its tasks are the handlers, and their settings say when they acknowledge); or a function (or coroutine
                function) without arguments. One call of it is one attempt; an endless loop is cut where it sleeps itself, so what it keeps in
                local variables across a sleep is not explored.
            handler: of a queue: a function of the message; with `acks="manual"` of the message and of what acknowledges it.
            n: how many of them may be at work at once.
            acks: whether a message is acknowledged when the handler has returned ("late"), before it begins ("early"), or where it says so
                ("manual"). A message that was not acknowledged comes again, whatever became of its worker.

        Raises:
            LabError: no worker, or a queue without a handler.
        """
        _positive("workers", n)
        if isinstance(work, Queue):
            call = _handling(work, handler, acks)
            actor = Actor(call, always_again, n, role="delivery", source=work.name)
        elif handler is not None:
            raise LabError(
                "lab.workers(function, handler): a handler is for the messages of a queue"
            )
        else:
            actor = Actor(Round(work, "worker"), always_again, n, role="round")
        self._scenario.actors.append(actor)

    def delivers(
        self,
        events: Events,
        *,
        to: HttpCall,
        sign: Sign | None = None,
        loses: bool = False,
        n: int = 2,
    ) -> None:
        """A provider that delivers its events to a webhook, each until it is answered 2xx: any number of times, in any order, and early.

        Args:
            events: `provider.events`. What the model emits (`s.emit`) is what is delivered.
            to: a request of `lab.http(app)` without a body: the event as JSON is put into it.
            sign: the headers that prove a body and a time, as `stripe.sign(secret)` makes them.
            loses: whether the provider may give an event up for good, whether or not anybody saw it.
            n: how many deliveries may be under way at once.

        Raises:
            LabError: not the events of a provider, or not a request.
        """
        _positive("delivers", n)
        given: Any = (events, to)
        if not (isinstance(given[0], Events) and isinstance(given[1], HttpCall)):
            raise LabError("lab.delivers(provider.events, to=lab.http(app).post(…))")
        if events.provider not in self._scenario.providers:
            raise LabError(f"{events.provider.name} is not in the world: lab.provider(…) first")
        events.provider.emits = True
        call = Delivery(events.provider.name, to, sign, loses=loses)
        self._scenario.actors.append(
            Actor(call, always_again, n, role="delivery", source=events.provider.name)
        )

    def timer(self, work: Call | Callable[[], object]) -> None:
        """What begins by itself, again and again: a job of cron, a sweeper. At rest, it has run and found nothing to do."""
        call = Timed(work) if isinstance(work, HttpCall) else Round(cast("Any", work), "timer")
        self._scenario.actors.append(Actor(call, always_again, 1, role="round"))


def _handling(queue: Queue, handler: Callable[..., object] | None, acks: Acks) -> Call:
    """What a worker of this queue does with a message."""
    from troth.lab.celery import Tasks, Working

    if isinstance(queue, Tasks):
        if handler is not None or acks != "late":
            raise LabError("lab.workers(celery): what they do, and when, is Celery's configuration")
        return Working(queue)
    if handler is None:
        raise LabError(f"lab.workers({queue.name}): what do they do? Give a handler")
    return Handling(queue.name, handler, acks)


def _positive(what: str, n: int) -> None:
    if n < 1:
        raise LabError(f"lab.{what}(n={n}): at least one")
