"""troth for the lifetime of an ASGI application: FastAPI, Starlette and Litestar.

    app = FastAPI(lifespan=troth_lifespan(troth))
    app = FastAPI(lifespan=troth_lifespan(troth, own))                  # with a lifespan of your own
    app = Litestar(route_handlers, lifespan=[troth_lifespan(troth)])

Nothing of these frameworks is imported: all of them take a function from the application to an async context manager.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from troth.app import Troth
from troth.base.errors import UsageError
from troth.worker.node import NodeOptions

__all__ = ["troth_lifespan"]

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def troth_lifespan(
    troth: Troth,
    own: Lifespan | None = None,
    *,
    worker: bool = False,
    options: NodeOptions | None = None,
) -> Lifespan:
    """A lifespan in which *troth* is open as a client, or, if *worker*, also executes runs with these *options*.

    *own*: your application's lifespan. It is entered when troth is open and left before troth closes, so it may start runs;
    what it yields is what the framework gets. The application does not start if the database is not usable (`StoreError`).
    Raises `UsageError` for options of what is no worker.
    """
    if options is not None and not worker:
        raise UsageError("options= are for a worker: say worker=True, or leave them out")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with troth.worker(options) if worker else troth.client():
            if own is None:
                yield None
            else:
                async with own(app) as state:
                    yield state

    return lifespan
