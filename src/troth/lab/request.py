"""Requests as values: what a user asks, so that the lab can ask it again; and how to make the application answer."""

from __future__ import annotations

import asyncio
import copy
import inspect
import traceback
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextvars import copy_context
from pathlib import Path
from typing import Any, Protocol, Self, cast, runtime_checkable
from urllib.parse import urlencode, urlsplit

import msgspec

from troth.lab.edge import tasks
from troth.lab.edge.attempt import Attempt, Stopped, ours, running
from troth.lab.homes import homes_of
from troth.lab.model import Answer, LabError, Op

Again = Callable[[Answer | None], bool]
"""Whether a caller asks again after this answer; None when no answer came."""


def lost_or_5xx(answer: Answer | None) -> bool:
    """Again when no answer came, or 5xx, or 429: the caller cannot know that it was served."""
    return answer is None or answer.status >= 500 or answer.status == 429


def never_again(answer: Answer | None) -> bool:
    """One request, whatever comes back."""
    del answer
    return False


def always_again(answer: Answer | None) -> bool:
    """Again and again: a poll, a job that is scheduled for ever. Such an actor never rests."""
    del answer
    return True


@runtime_checkable
class Call(Protocol):
    """Something that an actor does: one attempt per invocation."""

    label: str

    async def invoke(self, attempt: Attempt) -> None:
        """Run the application's code once. The answer is an operation like any other."""
        ...

    def asked(self) -> object:
        """What is asked, as plain data. None: no plain data says it all, so nothing is kept for a search after an edit."""
        ...

    def roots(self) -> dict[str, object]:
        """What is run, and objects outside modules in which the application keeps memory."""
        ...


async def called(attempt: Attempt, function: Callable[[], object]) -> object:
    """Call a function of the application, or run its coroutine; what is no coroutine function has its thread to itself."""
    attempt.blocking = not inspect.iscoroutinefunction(getattr(function, "func", function))
    result = function()
    return await result if inspect.isawaitable(result) else result


def described_error(error: Exception) -> str:
    """The exception and the innermost place of the application, in one line."""
    places = [one for one in traceback.extract_tb(error.__traceback__) if ours(one.filename)]
    place = f" (at {Path(places[-1].filename).name}:{places[-1].lineno})" if places else ""
    return f"{type(error).__name__}: {error}{place}"


def tell(attempt: Attempt, status: int, body: bytes) -> None:
    """The answer to the caller."""
    attempt.ask(Op("answer", params=(status, body)))


class FunctionCall:
    """A plain function, or coroutine function, as the handler.

    What it returns is the answer: an int is a status, a tuple is (status, body), anything else is 200. An exception is 500.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        named = getattr(function, "func", function)  # of a functools.partial
        self.label: str = getattr(named, "__name__", "call")
        self._function = function

    async def invoke(self, attempt: Attempt) -> None:
        try:
            result = await called(attempt, self._function)
        except Exception as error:  # noqa: BLE001  (what a server would do with it)
            attempt.failure = described_error(error)
            status, body = 500, type(error).__name__.encode()
        else:
            status, body = _answer_of(result)
        await tasks.settle(attempt)
        tell(attempt, status, body)

    def asked(self) -> object:
        return self.label

    def roots(self) -> dict[str, object]:
        function = getattr(self._function, "func", self._function)
        return {getattr(function, "__qualname__", "call"): function}


def _named(value: object) -> str:
    """What JSON cannot hold, by its type: a `repr` may hold an address, which is never the same twice."""
    return type(value).__name__


def _answer_of(result: object) -> tuple[int, bytes]:
    if isinstance(result, int) and not isinstance(result, bool):
        return result, b""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], int):
        return result[0], msgspec.json.encode(result[1], enc_hook=_named)
    return 200, msgspec.json.encode(result, enc_hook=_named)


class HttpApp:
    """An ASGI application: `lab.http(app).post("/signup", json={...})` is a request as a value."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app
        self.kind: type[HttpCall] = HttpCall

    def request(
        self,
        method: str,
        target: str,
        *,
        json: object = None,
        data: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> HttpCall:
        """A request; nothing is sent yet."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        body = b""
        if json is not None:
            body = msgspec.json.encode(json)
            given.setdefault("content-type", "application/json")
        elif data is not None:
            body = urlencode(data).encode()
            given.setdefault("content-type", "application/x-www-form-urlencoded")
        return self.kind(self._app, method.upper(), target, given, body)

    def get(self, target: str, *, headers: dict[str, str] | None = None) -> HttpCall:
        """A GET request."""
        return self.request("GET", target, headers=headers)

    def post(
        self,
        target: str,
        *,
        json: object = None,
        data: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> HttpCall:
        """A POST request with a JSON or form body."""
        return self.request("POST", target, json=json, data=data, headers=headers)

    def put(
        self, target: str, *, json: object = None, headers: dict[str, str] | None = None
    ) -> HttpCall:
        """A PUT request with a JSON body."""
        return self.request("PUT", target, json=json, headers=headers)

    def delete(self, target: str, *, headers: dict[str, str] | None = None) -> HttpCall:
        """A DELETE request."""
        return self.request("DELETE", target, headers=headers)


class HttpCall:
    """One request to an ASGI application. The answer reaches the caller when its last byte is sent, and code may run after it."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        self.app = app
        self.label = f"{method} {target}"
        url = urlsplit(target)
        self.body = body
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": url.path,
            "raw_path": url.path.encode(),
            "query_string": url.query.encode(),
            "root_path": "",
            "headers": [(b"host", b"lab.test"), *((k.encode(), v.encode()) for k, v in headers.items())],
            "client": ("127.0.0.1", 1),
            "server": ("lab.test", 80),
        }  # fmt: skip

    def carrying(self, body: bytes, headers: dict[str, str]) -> HttpCall:
        """The same request with another body, and more headers."""
        scope = self.scope
        named = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
        kept = [one for one in scope["headers"] if one[0] not in dict(named)]
        made = copy.copy(self)
        made.body, made.scope = body, scope | {"headers": [*kept, *named]}
        return made

    async def invoke(self, attempt: Attempt) -> None:
        pending = [{"type": "http.request", "body": self.body, "more_body": False}]
        status, body, told = 500, bytearray(), False

        async def receive() -> MutableMapping[str, Any]:
            if pending:
                return pending.pop()
            await (
                asyncio.Event().wait()
            )  # the caller stays connected; who waits for its leaving is cancelled in the end
            raise AssertionError

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, told
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    told = True
                    await tasks.settle(attempt)
                    tell(attempt, status, bytes(body))

        try:
            await self.app(dict(self.scope, headers=list(self.scope["headers"])), receive, send)
        except Exception as error:  # noqa: BLE001  (a server logs it)
            attempt.failure = described_error(error)
            if told:
                return
        if not told:
            tell(attempt, 500, b"")

    def asked(self) -> object:
        return sorted(self.scope.items()), self.body

    def roots(self) -> dict[str, object]:
        found: dict[str, object] = {"app": self.app, **homes_of(self.app)}
        if (state := getattr(self.app, "state", None)) is not None:
            found["app.state"] = vars(state).get("_state", {})
        parts = [getattr(route, "endpoint", None) for route in getattr(self.app, "routes", ())]
        for middleware in getattr(self.app, "user_middleware", ()):
            parts += [middleware.cls, *middleware.kwargs.values()]
        return found | {f"app, part {n}": one for n, one in enumerate(parts) if one is not None}


class Lifespan:
    """An ASGI application's start-up and shut-down code, around everything else."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self, attempt: Attempt) -> None:
        """Run the start-up code. An application without a lifespan is fine; one whose start-up fails is not."""
        self._task = asyncio.create_task(self._live())
        if await self._after("lifespan.startup") == "lifespan.startup.failed":
            attempt.refuse("the application's start-up failed")

    async def stop(self, attempt: Attempt) -> None:
        """Run the shut-down code."""
        del attempt
        await self._after("lifespan.shutdown")

    async def _after(self, message: str) -> str:
        self._inbox.put_nowait({"type": message})
        heard = asyncio.ensure_future(self._outbox.get())
        assert self._task is not None
        await asyncio.wait({heard, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if heard.done():
            return heard.result()
        heard.cancel()
        return ""

    async def _live(self) -> None:
        async def send(message: MutableMapping[str, Any]) -> None:
            self._outbox.put_nowait(message["type"])

        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        try:
            await self._app(scope, self._inbox.get, send)
        except Exception:  # noqa: BLE001  (as servers do: it has no lifespan)
            return


_MAIN = asyncio.base_events._run_until_complete_cb  # type: ignore[attr-defined]  # noqa: SLF001  (how anyio knows it)


class Stage:
    """The event loop on which attempts run, one at a time."""

    def __init__(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._runner = asyncio.Runner()
        else:
            raise LabError(
                "the lab has its own event loop: call prove() from a test that is not `async def`"
            )

    def __enter__(self) -> Self:
        loop = self._runner.get_loop()
        loop.set_task_factory(cast("Any", tasks.create))  # typeshed wants a generic protocol
        # anyio ends its worker threads with the task that it takes for the loop's main one, which would be every attempt
        self._main = loop.create_task(asyncio.Event().wait())
        self._main.add_done_callback(_MAIN)
        return self

    def __exit__(self, *_: object) -> None:
        self._main.remove_done_callback(_MAIN)
        self._main.cancel()
        self._runner.close()

    def run(
        self,
        attempt: Attempt,
        call: Callable[[Attempt], Coroutine[Any, Any, None]],
        *,
        leaves_tasks: bool = False,
    ) -> None:
        """Run a call to its end. What goes wrong with the lab's view of it is in `attempt.refused`."""
        loop = self._runner.get_loop()
        with running(attempt):
            context = copy_context()
            try:
                loop.run_until_complete(context.run(loop.create_task, call(attempt)))
            except Stopped:
                attempt.refused = attempt.refused or "stopped"
            finally:
                if not leaves_tasks:
                    self._sweep(attempt)
                for close in attempt.kept:
                    close()

    def _sweep(self, attempt: Attempt) -> None:
        """Nothing may go on after an attempt: what it left behind would act in nobody's name."""
        left = [one.task for one in attempt.strands if one.task and not one.task.done()]
        if left:
            attempt.refused = (
                attempt.refused or "a task outlives its attempt (create_task without await)"
            )
            for task in left:
                task.cancel()
            self._runner.get_loop().run_until_complete(asyncio.wait(left))
