"""The project's one `Troth`, made of `settings.TROTH`.

Keys: *url*, or *using* (the name of a database in `DATABASES`); *schema*, *cell*, *directory* as in `Troth`. Without *url* and
*using* it is what `TROTH_DATABASE_URL` says, and without that the database `default`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.db import connections

from troth.app import Troth
from troth.base.errors import UsageError
from troth.base.settings import read

_KEYS = ("url", "using", "schema", "cell", "directory")
_PARTS = {"USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
_OF_DJANGO = {"pool", "isolation_level", "server_side_binding", "assume_role", "context"}


@functools.cache
def the_troth() -> Troth:
    """The object that all definitions of the project are made with. Raises `UsageError` for wrong settings."""
    given: dict[str, Any] = dict(getattr(settings, "TROTH", {}))
    for key in given:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"it may have {', '.join(_KEYS)}"
            msg = f"settings.TROTH has {key!r}, which is nothing that it can say: {advice}"
            raise UsageError(msg)
    using = given.pop("using", None)
    if using is not None and "url" in given:
        raise UsageError("settings.TROTH has url and using: which database is it? Leave one out")
    if "url" not in given and (using is not None or not read().database_url):
        given["url"] = url_of(connections[using or "default"].settings_dict)
    return Troth(**given)


def url_of(database: Mapping[str, Any]) -> str:
    """The URL of one of Django's databases. Raises `UsageError` if it is no PostgreSQL."""
    engine = str(database["ENGINE"])
    if "postgresql" not in engine and "postgis" not in engine:
        msg = f"troth needs PostgreSQL, and this database of Django's is {engine}: name another by TROTH['using'] or ['url']"
        raise UsageError(msg)
    options = database.get("OPTIONS") or {}
    parts = {
        name: value
        for name, value in options.items()
        if name not in _OF_DJANGO and isinstance(value, str | int)
    }
    parts |= {word: database[key] for key, word in _PARTS.items() if database.get(key)}
    return f"postgresql:///{quote(str(database['NAME'] or ''), safe='')}?{urlencode(parts, quote_via=quote)}"
