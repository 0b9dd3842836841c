"""One ASGI request at work, as its handler sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from datetime import datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple
from uuid import UUID

from troth.app import Run, Troth
from troth.base.errors import UsageError
from troth.command import request_start
from troth.command.perform import Ask, Requests
from troth.command.request_model import Operation
from troth.store.connect import AsyncConnection
from troth.store.plan import Statement, carry_out
from troth.store.tx import Tx
from troth.workflow.definition import Workflow

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Caller = Callable[[Scope], str]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

COMMAND = "troth.command"  # where a handler finds its command in the scope


class Command:
    """One request at work: its transaction, and what its answer will be. It is over when the handler has answered."""

    def __init__(self, troth: Troth, requests: Requests, ask: Ask, tx: AsyncConnection) -> None:
        self.key = ask.sent.key
        self.principal = ask.sent.caller
        self.touched = False
        self.kept = False
        self.pending: Operation | None = None
        self.last_words: list[Statement] = []
        self.held: Callable[[], Any] = (
            _Held  # makes what stands for an answer that is not known yet
        )
        self._troth = troth
        self._requests = requests
        self._tx: AsyncConnection | None = tx

    @property
    def tx(self) -> Tx:
        """The transaction in which the answer will be recorded. Raises `UsageError` once that has been sent."""
        if self._tx is None:
            msg = "this request has been answered, and its transaction has ended: work after that needs another one"
            raise UsageError(msg)
        self.touched = True
        return self._tx

    async def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        key: str | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        partition: str | None = None,
        deadline: datetime | timedelta | None = None,
    ) -> Run[R]:
        """As `troth.start`, in this transaction: the run exists if and only if the request is answered."""
        plan = request_start.start(
            self._requests.queries, self._troth.cell, self._troth.workflows, workflow, args,
            key=key, at=at, priority=priority, partition=partition, deadline=deadline,
            telemetry=self._troth.telemetry,
        )  # fmt: skip
        run_id = await carry_out(self.tx, plan)
        assert isinstance(workflow, Workflow)  # or the plan has raised
        return Run(self._troth, run_id, workflow)

    def at_commit(self, statement: Statement) -> None:
        """Send *statement* together with COMMIT: it costs no round trip, and nothing sees what it returns.

        It is not done if the answer is a refusal (4xx) that `keep` does not keep.
        """
        self.touched = True
        self.last_words.append(statement)

    def keep(self) -> None:
        """Commit what was done also if the answer is a refusal (4xx), which otherwise undoes it."""
        self.kept = True

    def operation(
        self,
        run: Run[Any] | UUID,
        *,
        wait: float = 0.0,
        render: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Return this from the handler: the answer is what becomes of *run*.

        It is waited for up to *wait* seconds after the commit. A run that has not ended by then is answered 202 with the URL
        of the operation; every retry gets what there is to say then, and the first final answer for ever. *render* makes
        it of the result and is registered by `requests.renders`; without, the result is the body.
        """
        run_id = run if isinstance(run, UUID) else run.id
        self.pending = self._requests.operation(run_id, wait, render)
        return self.held()

    def close(self) -> None:
        """It is over."""
        self._tx = None


class _Held:
    """Stands for an answer that is not known yet: a response to any ASGI framework that calls responses."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def by_authorization(scope: Scope) -> str:
    """Whoever sends the same Authorization header is the same caller; all others are `anonymous`."""
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    if not sent:
        return "anonymous"
    return "authorization:" + hashlib.blake2b(b"\0".join(sent), digest_size=16).hexdigest()
