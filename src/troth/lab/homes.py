"""Where the code of an application is that names it in strings: a framework's object knows its modules, and no import leads to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any


def homes_of(app: object) -> dict[str, object]:
    """Objects from which the modules of an application are found, by name, beside the application itself."""
    found = {f"module {name}": _at_home_in(name) for name in _named_by(app)}
    views = getattr(app, "view_functions", None)  # of Flask
    if isinstance(views, dict):
        found |= {f"view {name}": view for name, view in views.items()}
    return found


def _named_by(app: Any) -> Iterator[str]:
    if isinstance(name := getattr(app, "import_name", None), str):  # of Flask
        yield name
    if type(app).__module__.startswith("django.") and "django.apps" in sys.modules:
        from django.apps import apps
        from django.conf import settings

        yield str(settings.ROOT_URLCONF)
        yield from (one.rpartition(".")[0] for one in settings.MIDDLEWARE)
        for one in apps.get_app_configs():
            yield one.name
            if one.models_module is not None:
                yield one.models_module.__name__


def _at_home_in(name: str) -> object:
    """Something that says of itself that it belongs to this module, which may be loaded only later."""
    return type("Home", (), {"__module__": name, "__slots__": ()})()
