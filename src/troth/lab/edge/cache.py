"""`functools.lru_cache` keeps its entries in C, where nobody can put them back. While the lab works, they are kept here."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from troth.lab.edge.patch import application_modules, replaced


class Cached:
    """What `lru_cache` does, with entries that can be read and put back. It begins empty, like a process."""

    def __init__(self, function: Callable[..., Any], *, maxsize: int | None, typed: bool) -> None:
        self.__wrapped__ = function
        self.entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._maxsize = maxsize
        self._typed = typed
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        key: Hashable = functools._make_key(args, kwargs, self._typed)  # noqa: SLF001  (as lru_cache makes it)
        if key not in self.entries:
            self.entries[key] = self.__wrapped__(*args, **kwargs)
            if self._maxsize is not None and len(self.entries) > self._maxsize:
                self.entries.popitem(last=False)
        self.entries.move_to_end(key)
        return self.entries[key]

    def cache_clear(self) -> None:
        """Forget everything."""
        self.entries.clear()


@contextmanager
def caught() -> Iterator[None]:
    """The application's caches are readable while the context lasts."""
    found = {
        (module, name): Cached(value.__wrapped__, **value.cache_parameters())
        for module in application_modules()
        for name, value in list(vars(module).items())
        # Not isinstance: that asks a lazy object what it stands for, which loads it.
        if issubclass(type(value), functools._lru_cache_wrapper)  # noqa: SLF001  (its only name)
    }
    one_each: dict[int, Cached] = {}
    substitutes = {
        (module, name): one_each.setdefault(id(getattr(module, name)), cached)
        for (module, name), cached in found.items()
    }
    with replaced(substitutes):
        yield
