"""Celery: what a task's `delay`, `apply_async` and `retry` send, above the connection to a broker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from troth.lab.celery import ANONYMOUS, Tasks
from troth.lab.edge.attempt import Attempt, attributed
from troth.lab.edge.patch import replaced
from troth.lab.model import Op
from troth.lab.queue import Queue


@contextmanager
def caught(queues: tuple[Queue, ...]) -> Iterator[None]:
    """Celery's applications send to the lab while the context lasts. Nothing is imported if there is no Celery."""
    if "celery" not in sys.modules:
        yield
        return
    from celery.app.amqp import AMQP
    from celery.app.base import Celery

    real: Any = Celery.send_task

    def send_task(
        self: Any,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: Any = None,
        eta: Any = None,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        del countdown, eta  # it comes when it comes
        attempt = attributed(f"the task {name}")
        if options.get("expires"):
            attempt.refuse(f"the task {name} expires; that is not explored yet")
        headers = dict(options.pop("headers", None) or {})
        if task_id is None or task_id.startswith(ANONYMOUS):
            headers["lab-anonymous"] = True
        return real(self, name, args, kwargs, task_id=task_id, headers=headers, **options)

    def sender(self: Any) -> Any:
        queue = next(
            (one for one in queues if isinstance(one, Tasks) and one.app is self.app), None
        )

        def send(_: object, name: str, message: Any, headers: Any = None, **options: Any) -> None:
            attempt = attributed(f"the task {name}")
            if queue is None:
                attempt.refuse(f"the code sends the task {name}; declare lab.celery(app)")
            serializer = options.get("serializer") or self.app.conf.task_serializer
            given = dict(headers or {})
            plain = _plain(attempt, message, serializer, anonymous="lab-anonymous" in given)
            if attempt.ask(Op("publish", queue.name, f"send {name}", (plain,))).error:
                from kombu.exceptions import OperationalError

                raise OperationalError(f"{queue.name}: the broker does not answer")

        return send

    def producer_or_acquire(self: Any, producer: Any = None) -> Any:
        del self, producer
        connection = SimpleNamespace(_reraise_as_library_errors=nullcontext)
        return nullcontext(SimpleNamespace(connection=connection, serializer=None))

    with replaced({
        (Celery, "send_task"): send_task,
        (Celery, "producer_or_acquire"): producer_or_acquire,
        (AMQP, "send_task_message"): property(sender),
    }):  # fmt: skip
        yield


def _plain(
    attempt: Attempt, message: Any, serializer: str, *, anonymous: bool
) -> dict[str, object]:
    """A message as it comes out of the broker again: its arguments went through the serializer."""
    from kombu import serialization as codecs

    serialization: Any = codecs

    if serializer not in {"json", "yaml", "msgpack"}:
        attempt.refuse(f"task_serializer={serializer!r}: the lab sends plain data; use json")
    kind, encoding, data = serialization.dumps(message.body, serializer)
    args, kwargs, embed = serialization.loads(data, kind, encoding, accept=[kind])
    made: dict[str, object] = {
        "task": message.headers["task"],
        "args": list(args),
        "kwargs": dict(kwargs),
        "retries": message.headers["retries"],
    }
    if not anonymous:
        made["id"] = message.headers["id"]
    if message.headers.get("ignore_result"):
        made["ignore_result"] = True
    if used := {name: value for name, value in embed.items() if value}:
        if used.keys() & {"chord"}:
            attempt.refuse("a chord needs a result backend, which the lab does not have")
        made["embed"] = used
    return made
