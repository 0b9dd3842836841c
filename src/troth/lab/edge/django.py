"""Django: its database wrapper is the real one, on the lab's drivers.

A connection that Django keeps for the next request (`CONN_MAX_AGE`) is opened for each attempt, as pools do under the lab.
"""

from __future__ import annotations

import sys
from asyncio import get_running_loop
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from troth.lab.edge.attempt import current
from troth.lab.edge.patch import replaced


@contextmanager
def caught() -> Iterator[None]:
    """Django's wrappers belong to attempts while the context lasts. Nothing is imported if there is no Django."""
    if "django.db.backends.base.base" not in sys.modules:
        yield
        return
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.utils import asyncio as guard

    connect: Any = BaseDatabaseWrapper.connect

    def connect_for(self: Any) -> None:
        if (attempt := current.get()) is not None:
            attempt.kept.append(partial(_forget, self))
            self.savepoint_state = 0
        connect(self)

    def savepoint(self: Any) -> str | None:
        """Savepoints are counted per connection: named after a thread, they would be called otherwise in every run."""
        if not self._savepoint_allowed():
            return None
        self.savepoint_state += 1
        name = f"s_x{self.savepoint_state}"
        self.validate_thread_sharing()
        self._savepoint(name)
        return name

    def running_loop() -> object:
        """Code without a loop of its own runs on the lab's: for Django, there is none."""
        if (attempt := current.get()) is not None and attempt.blocking:
            raise RuntimeError("no running event loop")
        return get_running_loop()

    with replaced({
        (BaseDatabaseWrapper, "connect"): connect_for,
        (BaseDatabaseWrapper, "savepoint"): guard.async_unsafe(savepoint),
        (guard, "get_running_loop"): running_loop,
    }):  # fmt: skip
        yield


def _forget(wrapper: Any) -> None:
    """The attempt is over, and its connection with it."""
    wrapper.connection = None
