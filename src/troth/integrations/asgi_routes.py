"""Which handler an ASGI request will meet: asked before it is called, and of the application's own routes.

Nothing is imported for it: Starlette and what is built on it have `routes` with `matches` and `path`.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]


def route_of(scope: Scope) -> tuple[str, object] | None:
    """The pattern and the handler that a request will meet; None if there is none, so that nothing can happen."""
    app = scope.get("app")
    if getattr(app, "routes", None) is None:
        return scope["path"], None
    return _search(app, scope, "")


def _search(app: Any, scope: Scope, prefix: str) -> tuple[str, object] | None:
    for route in _flat(app.routes):
        match, child = route.matches({**scope})
        if match.name != "FULL":
            continue
        inner = child.get("endpoint") or getattr(route, "endpoint", None)
        pattern = prefix + (getattr(route, "path", "") or "")
        if getattr(inner, "routes", None) is not None:
            return _search(inner, {**scope, **child}, pattern)
        return pattern or scope["path"], inner
    return None


def _flat(routes: Any) -> Iterator[Any]:
    """FastAPI keeps what was included from a router in one entry; each of its routes counts here."""
    for route in routes:
        contexts = getattr(route, "effective_route_contexts", None)
        yield from contexts() if contexts is not None else (route,)
