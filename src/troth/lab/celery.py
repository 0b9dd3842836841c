"""Celery's tasks: a queue whose messages are what Celery sends, and workers that do what Celery's do with them.

The task runs under Celery's own `Request` and tracer, so when a message is acknowledged, what becomes of an exception, of `self.retry` and of
`autoretry_for` is decided by Celery, from the application's configuration. What is left out is the network: a countdown is no time, and a
message can come at any moment after it was sent.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from troth.lab.deliveries import received
from troth.lab.edge.attempt import Attempt
from troth.lab.model import LabError, Op
from troth.lab.queue import Queue
from troth.lab.world import decode, encode

if TYPE_CHECKING:
    from celery import Celery

ANONYMOUS = "lab-task-"
"""How the id of a task begins to which the code gave none. It is another one every time: code that does something with it is refused."""
_numbers = itertools.count(1)
_EMBEDDED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Tasks(Queue):
    """What a Celery application has sent. `w.celery.messages` have `task`, `args`, `kwargs`, and how often they were retried.

    Args:
        app: the application.
        name: what promises call the queue.

    Raises:
        LabError: its tasks run where they are called (`task_always_eager`), so that nothing is ever sent.
    """

    def __init__(self, app: Celery, name: str) -> None:
        super().__init__(name)
        self.app = app
        if app.conf.task_always_eager:
            raise LabError(
                "task_always_eager: nothing is sent, so nothing can be lost; turn it off in the lab's test"
            )
        app.finalize()

    def forfeits(self, says: Any) -> bool:
        """A worker acknowledges, at the latest, what a process of its pool died of, unless `reject_on_worker_lost` is set."""
        task = self.app.tasks.get(says["task"])
        return task is not None and task.acks_late and not task.reject_on_worker_lost

    def describe(self) -> str:
        """The model in words, for the verdict."""
        return f"{super().describe()}; countdowns take no time"


class Working:
    """A worker of Celery with one message."""

    def __init__(self, tasks: Tasks) -> None:
        self.label = f"worker: {tasks.name}"
        self._tasks = tasks
        self._op = received(tasks.name)

    async def invoke(self, attempt: Attempt) -> None:
        message = attempt.ask(self._op).value
        if message is not None:
            await asyncio.to_thread(self._work, attempt, decode(encode(message)))

    def _work(self, attempt: Attempt, message: dict[str, Any]) -> None:
        from celery.worker.request import Request

        def acknowledge(*_: object) -> None:
            attempt.ask(Op("ack", self._op.target, f"acknowledge to {self._op.target}"))

        def reject(_: object, __: object, requeue: bool = False) -> None:
            if not requeue:
                acknowledge()

        app = self._tasks.app
        if message["task"] not in app.tasks:
            attempt.refuse(f"nobody has registered the task {message['task']!r}: import its module")
        task = app.tasks[message["task"]]
        name = message.get("id") or f"{ANONYMOUS}{next(_numbers)}"
        body = (message["args"], message["kwargs"], _EMBEDDED | message.get("embed", {}))
        headers = {
            "id": name,
            "task": message["task"],
            "root_id": name,
            "retries": message["retries"],
            "timelimit": (None, None),
            "ignore_result": message.get("ignore_result"),
        }
        request = Request(
            _Message(headers, body),
            on_ack=acknowledge,
            on_reject=reject,
            hostname="lab",
            app=app,
            task=task,
            decoded=True,
        )
        app.set_current()  # as a worker does, for its threads
        request.execute_using_pool(_Inline(attempt))

    def asked(self) -> object:
        return None  # most of what it does is in the configuration

    def roots(self) -> dict[str, object]:
        found = {}
        for name, task in self._tasks.app.tasks.items():
            if not name.startswith("celery."):
                found[name] = getattr(task, "_orig_run", task.run)
        return {name: getattr(run, "__func__", run) for name, run in found.items()}


class _Message:
    """What Celery wants of a message."""

    content_type = content_encoding = None
    delivery_info: dict[str, object] = {"routing_key": "lab", "redelivered": False}  # noqa: RUF012
    properties: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, headers: dict[str, object], body: object) -> None:
        self.headers = headers
        self.body = self.payload = body


class _Inline:
    """A pool of one process: the worker's own."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def apply_async(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        accept_callback: Callable[..., object],
        callback: Callable[..., object],
        **_: object,
    ) -> None:
        accept_callback(1, 0.0)
        name, task_id, request, body, kind, encoding = args
        done = target(name, task_id, request, body, kind, encoding)
        if done[0]:
            self._attempt.failure = f"{name}: {done[1]}"
        callback(done)
