"""Celery: what a task's `delay`, `apply_async` and `retry` send, above the connection to a broker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from troth.lab.celery import ANONYMOUS, Tasks
from troth.lab.edge.attempt import Attempt, attributed, current
from troth.lab.edge.patch import replaced
from troth.lab.model import Op
from troth.lab.queue import Queue


@contextmanager
def caught(queues: tuple[Queue, ...]) -> Iterator[None]:
    """Celery's applications send to the lab while the context lasts. Nothing is imported if there is no Celery."""
    if "celery" not in sys.modules:
        yield
        return
    from celery import canvas
    from celery.app import base
    from celery.app.amqp import AMQP

    with ExitStack() as stack:
        stack.enter_context(replaced({
            (base.Celery, "send_task"): _sending(base.Celery.send_task),
            (base.Celery, "producer_or_acquire"): _unconnected,
            (AMQP, "send_task_message"): property(_publishing(queues)),
            # Where answers would go: made up once for each thread, so the first message of a process would draw, and no other.
            (base.Celery, "oid"): property(lambda _: "lab"),
            (base.Celery, "thread_oid"): property(lambda _: "lab"),
        }))  # fmt: skip
        for module in (
            base,
            canvas,
        ):  # and only there: what the application itself names is its own
            stack.callback(setattr, module, "uuid", module.uuid)
            module.uuid = _made_up(module.uuid)
        yield


def _sending(real: Callable[..., Any]) -> Callable[..., Any]:
    """A task comes when it comes, and has a name only if the code has given it one."""

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
        del countdown, eta
        attempt = attributed(f"the task {name}")
        if options.get("expires"):
            attempt.refuse(f"the task {name} expires; that is not explored yet")
        headers = dict(options.pop("headers", None) or {})
        if task_id is None or task_id in attempt.made_up or task_id.startswith(ANONYMOUS):
            headers["lab-anonymous"] = True
        return real(self, name, args, kwargs, task_id=task_id, headers=headers, **options)

    return send_task


def _publishing(queues: tuple[Queue, ...]) -> Callable[[Any], Any]:
    """What hands a message to a producer, for the AMQP part of an application."""

    def sender(self: Any) -> Any:
        found = (one for one in queues if isinstance(one, Tasks) and one.app is self.app)
        queue = next(found, None)

        def send(_: object, name: str, message: Any, headers: Any = None, **options: Any) -> None:
            attempt = attributed(f"the task {name}")
            if queue is None:
                attempt.refuse(f"the code sends the task {name}; declare lab.celery(app)")
            serializer = options.get("serializer") or self.app.conf.task_serializer
            anonymous = "lab-anonymous" in (headers or {})
            plain = _plain(attempt, message, serializer, anonymous=anonymous)
            if attempt.ask(Op("publish", queue.name, f"send {name}", (plain,))).error:
                from kombu.exceptions import OperationalError

                raise OperationalError(f"{queue.name}: the broker does not answer")

        return send

    return sender


def _unconnected(self: Any, producer: Any = None) -> Any:
    """A producer without a connection."""
    del self, producer
    connection = SimpleNamespace(_reraise_as_library_errors=nullcontext)
    return nullcontext(SimpleNamespace(connection=connection, serializer=None))


def _made_up(uuid: Callable[[], str]) -> Callable[[], str]:
    """What Celery calls a task, or a group, to which nobody gave a name."""

    def made_up() -> str:
        name = uuid()
        if (attempt := current.get()) is not None:
            attempt.made_up.add(name)
        return name

    return made_up


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
        made["embed"] = {name: _bare(value) for name, value in used.items()}
    return made


_INVENTED = {"task_id", "reply_to", "root_id", "parent_id", "group_id"}


def _bare(value: Any) -> Any:
    """What is to be called next, without the names that Celery has made up for it."""
    if isinstance(value, dict):
        plain = {name: _bare(one) for name, one in value.items()}
        if isinstance(plain.get("options"), dict) and "task" in plain:
            options = plain["options"]
            plain["options"] = {k: v for k, v in options.items() if k not in _INVENTED}
        return plain
    return [_bare(one) for one in value] if isinstance(value, list) else value
