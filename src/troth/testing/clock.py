"""Virtual time: one offset for a schema of a test, in its database and in the process alike.

A schema with functions `clock_timestamp()` and `now()` comes before `pg_catalog` in the search path of the test's
connections. So every statement of troth, and of the program under test, reads the moved time; in production there is no
such schema, and nothing of this is there. `CURRENT_TIMESTAMP` is a word of SQL's own and stays real.
"""

from __future__ import annotations

from urllib.parse import quote

from troth.base.errors import UsageError
from troth.store.connect import connect_blocking
from troth.store.queries import load


class DatabaseTime:
    """The time of one test's connections, which may be moved forward. Blocks."""

    def __init__(self, url: str, schema: str) -> None:
        self._q = load("troth.testing", schema)
        self._session = connect_blocking(url)
        self._session.execute(self._q.make_time)

    def now(self) -> float:
        """Seconds since 1970."""
        return self._ask()

    def move(self, to_s: float) -> float:
        """Move it to a moment, never back; what it is then."""
        self._session.execute(self._q.move, (to_s,))
        return self._ask()

    def remove(self) -> None:
        """Forget it."""
        self._session.execute(self._q.drop)
        self._session.close()

    def _ask(self) -> float:
        row = self._session.execute(self._q.now).fetchone()
        assert row is not None
        return float(row[0])


def with_time(url: str, schema: str) -> str:
    """A URL whose connections read the time from *schema*. Raises `UsageError` if it has `options` of its own."""
    if "options=" in url:
        msg = "a test's database URL cannot have options= of its own: the virtual clock needs that"
        raise UsageError(msg)
    option = f"-csearch_path={schema},pg_catalog,public"
    if "://" in url:
        return f"{url}{'&' if '?' in url else '?'}options={quote(option, safe='')}"
    return f"{url} options='{option}'".strip()
