"""`lab`: what a test writes. A world, actors, promises, honesty, and `prove()`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from troth.lab.arriving import Arriving
from troth.lab.database import Database
from troth.lab.mailbox import Mailbox
from troth.lab.model import LabError
from troth.lab.promise import Promise, Severity
from troth.lab.proof import verdict
from troth.lab.provider import Provider
from troth.lab.redis import Redis
from troth.lab.request import Again, Call, FunctionCall, HttpApp, lost_or_5xx
from troth.lab.rerun import Kept, rerun
from troth.lab.reuse import Reuse
from troth.lab.scenario import Scenario
from troth.lab.sqlite import Sqlite
from troth.lab.steps import Limits
from troth.lab.tables import Actor
from troth.lab.verdict import Refusal, Verdict, Violation

if TYPE_CHECKING:
    from troth.app import Troth
    from troth.lab.troth.world import Program

_POSTGRES = re.compile(r"postgres(ql)?://|\w+=")


class Lab(Arriving):
    """A scenario: describe it, then `prove()` it.

    Args:
        name: what reports call it; the pytest fixture gives the test's id.
        progress: called with a line of text while the search runs.
        closer: seconds for a closer look at what was found: the map, twins, checked remedies. 0: none.
        test: the id of the pytest test, for reports.
    """

    def __init__(
        self,
        name: str = "lab",
        progress: Callable[[str], None] | None = None,
        *,
        closer: float = 10.0,
        test: str = "",
    ) -> None:
        self.name = name
        self.verdict: Verdict | None = None
        self._progress = progress
        self.again: Kept | None = None
        """A history to carry out instead of searching."""
        self.reuse: Reuse | None = None
        """Where a verdict that still stands may be taken from."""
        self._scenario = Scenario(name, closer=closer, test=test)

    # ── the world ───────────────────────────────────────────────────────────────────────────────

    def database(
        self,
        path: str | None = None,
        *,
        seed: str = "",
        migrate: Callable[[], object] | None = None,
        name: str = "db",
    ) -> Database:
        """A database: SQLite, or PostgreSQL if `path` is its URL. The application's connections are the lab's.

        Args:
            path: which file; by default every file that the application opens with `sqlite3.connect`. It is never opened itself. Or
                the URL (`postgresql://…`, or `host=… dbname=…`) of a server on which the lab may make a database of its own; wherever the application
                connects to with psycopg, it gets that one. The role must be a superuser.
            seed: SQL that makes the tables and rows of the beginning.
            migrate: the application's own function that makes them, run once, without faults.
            name: what promises call it: `w.db.users`.

        Raises:
            LabError: the path is that of another database system.
        """
        made: Database
        if path is not None and _POSTGRES.match(path):
            from troth.lab.postgres import Postgres

            made = Postgres(name, path, seed)
        elif path is not None and "://" in path:
            raise LabError(f"{path}: SQLite and PostgreSQL are explored, nothing else yet")
        else:
            made = Sqlite(name, path, seed)
        self._scenario.databases.append(made)
        if migrate is not None:
            self._scenario.migrations.append(migrate)
        return made

    def troth(
        self,
        app: Troth,
        url: str,
        *,
        seed: str = "",
        workers: int = 2,
        lost_commits: bool = True,
        name: str = "troth",
    ) -> Program:
        """The engine of troth, with a database and workers of its own: `w.troth.runs`, and the application's tables by their names.

        Args:
            app: the program's `Troth`.
            url: a PostgreSQL server on which the lab may make a database of its own. The role must be a superuser.
            seed: SQL that makes the application's tables.
            workers: how many worker processes may be alive at once, of which all but the last were declared dead.
            lost_commits: whether the engine's own connection can be lost while it commits.
            name: what promises call it.

        Raises:
            LabError: no worker.
        """
        if workers < 1:
            raise LabError(f"lab.troth(workers={workers}): at least one worker is alive")
        from troth.lab.troth.life import needed
        from troth.lab.troth.world import Program

        program = Program(app, url, seed, name)
        program.database.loses_commits = lost_commits
        self._scenario.databases.append(program.database)
        self._scenario.actors.append(Actor(program.worker, needed, workers))
        return program

    def provider(self, kind: type[Provider] | Provider) -> Provider:
        """A third party, as a model: a subclass of `Provider`."""
        made = kind() if isinstance(kind, type) else kind
        self._scenario.providers.append(made)
        return made

    def stripe(self) -> Provider:
        """The model of Stripe that comes with the lab."""
        from troth.lab.stripe import Stripe

        return self.provider(Stripe)

    def mailbox(self) -> Mailbox:
        """Where `smtplib` delivers to."""
        self._scenario.mailbox = self._scenario.mailbox or Mailbox()
        return self._scenario.mailbox

    def redis(self) -> Redis:
        """Redis, wherever redis-py connects to. Keys run out by themselves; promises see `w.redis["name"]`."""
        self._scenario.redis = self._scenario.redis or Redis()
        return self._scenario.redis

    # ── actors ──────────────────────────────────────────────────────────────────────────────────

    def http(self, app: Callable[..., Any]) -> HttpApp:
        """An ASGI application, whose requests are values: `lab.http(app).post("/signup", json={...})`."""
        return HttpApp(app)

    def wsgi(self, app: Callable[..., Any]) -> HttpApp:
        """A WSGI application (Django, Flask, …), whose requests are values: `lab.wsgi(application).post("/checkout", data={...})`."""
        from troth.lab.wsgi import WsgiApp

        return WsgiApp(app)

    def user(
        self,
        request: Call | Callable[[], object],
        *,
        again: Again = lost_or_5xx,
        overlap: int = 2,
        within: timedelta | None = None,
    ) -> None:
        """Somebody who sends the request, and sends it again as long as `again(answer)` says so.

        Args:
            request: a request of `lab.http(app)`, or a plain function (or coroutine function) without arguments.
            again: gets the answer, or None when none came. Retries are unlimited, served by the same or by a fresh process.
            overlap: how many attempts of this user may be alive at once: a caller who stops waiting does not stop the attempt.
            within: for how long the user asks again. Whoever has not had an answer by then has given up; by default, nobody does. It
                matters where something expires: a key that lives for a day is of no use to who comes again next week.

        Raises:
            LabError: less than one attempt.
        """
        if overlap < 1:
            raise LabError(f"lab.user(overlap={overlap}): at least one attempt is alive")
        call = request if isinstance(request, Call) else FunctionCall(request)
        self._scenario.actors.append(Actor(call, again, overlap, within))

    # ── promises ────────────────────────────────────────────────────────────────────────────────

    def always(
        self,
        name: str,
        holds: Callable[[Any], object],
        *,
        costs: str = "",
        severity: Severity | None = None,
    ) -> None:
        """True in every state of every history."""
        self._scenario.promises.append(
            Promise("always", name, holds, severity or ("money" if costs else "lost"), costs)
        )

    def at_rest(
        self,
        name: str,
        holds: Callable[[Any], object],
        *,
        costs: str = "",
        severity: Severity | None = None,
    ) -> None:
        """True whenever every caller has a final answer."""
        self._scenario.promises.append(
            Promise("at_rest", name, holds, severity or ("money" if costs else "lost"), costs)
        )

    def told(
        self,
        status: int,
        name: str,
        holds: Callable[[Any], object],
        *,
        costs: str = "",
        severity: Severity | None = None,
    ) -> None:
        """True from when a caller was told this status (2 stands for 2xx), whenever no attempt is running."""
        self._scenario.promises.append(
            Promise("told", name, holds, severity or "lie", costs, status)
        )

    def eventually(
        self,
        name: str,
        holds: Callable[[Any], object],
        *,
        costs: str = "",
        severity: Severity | None = None,
    ) -> None:
        """Whatever has happened: once nothing fails any more, it can still become true at rest."""
        self._scenario.promises.append(
            Promise("eventually", name, holds, severity or "stuck", costs)
        )

    def monitor(
        self,
        name: str,
        *,
        init: object,
        step: Callable[[Any, Any], object],
        holds: Callable[[Any], object],
        costs: str = "",
        severity: Severity | None = None,
    ) -> None:
        """A promise about a history: `value = step(value, w)` after every change of the world, and `holds(value)` stays true.

        The values must be hashable, and finitely many, or the graph does not close.
        """
        self._scenario.promises.append(
            Promise(
                "monitor",
                name,
                holds,
                severity or ("money" if costs else "lost"),
                costs,
                initial=init,
                step=step,
            )
        )

    # ── honesty ─────────────────────────────────────────────────────────────────────────────────

    def accept(self, name: str, *, sink: Mailbox, because: str) -> None:
        """A repetition in a sink that nobody minds. It is counted, and if it never happens the report says so."""
        self._scenario.accepted.append((name, sink, because))

    def bound(self, column: str, most: int) -> None:
        """Do not explore worlds in which a value of "table.column" is larger. The verdict is then open, and says so."""
        if column.count(".") != 1:
            raise LabError(f"a column is 'table.column', not {column!r}")
        self._scenario.bounds[column] = most

    def ignore(
        self,
        *,
        column: str | None = None,
        memory: str | None = None,
        path: str | None = None,
        because: str,
    ) -> None:
        """Leave something out of the state: a column, a variable ("module.name"), or files that the code writes."""
        given = [
            (kind, value)
            for kind, value in (("column", column), ("memory", memory), ("path", path))
            if value
        ]
        if len(given) != 1:
            raise LabError("lab.ignore() takes one of column=, memory=, path=, and because=")
        self._scenario.ignored.append((*given[0], because))

    def redact(self, *names: str) -> None:
        """Values of fields, columns and parameters whose names contain one of these are shown in no report.

        Passwords, tokens, cards and the like are never shown, without being named here.
        """
        self._scenario.hidden.update(names)

    # ── the search ──────────────────────────────────────────────────────────────────────────────

    def prove(
        self,
        *,
        budget: float = 60.0,
        survived: int = 2,
        overlap: int = 2,
        in_flight: int = 1,
        expiry: bool = True,
        confirm: bool = True,
    ) -> Verdict:
        """Explore, and fail the test if a promise is broken.

        Args:
            budget: seconds of wall clock for the search. It can only turn a closed graph into an open one.
            survived: how many errors one attempt may survive.
            overlap: how many attempts may be alive at once, of all users together.
            in_flight: how many effects may be under way whose callers have given up; they land later.
            expiry: whether providers forget keys when these have lived.
            confirm: whether what was found is carried out by real processes, which really die. Without it no verdict is HOLDS.

        Raises:
            Violation: a promise about money, truth, liveness or loss is broken.
            Refusal: the lab cannot speak about this code, or was asked for what it cannot explore yet.
            LabError: the test is wrong.
        """
        __tracebackhide__ = True  # pytest shows the test and the report, not the way through here
        found = self.explore(
            budget=budget,
            survived=survived,
            overlap=overlap,
            in_flight=in_flight,
            expiry=expiry,
            confirm=confirm,
        )
        if found.failing or found.word == "VIOLATED":
            raise Violation(found)
        if found.word in {"REFUSED", "DISAGREED"}:
            raise Refusal(found)
        return found

    def explore(
        self,
        *,
        budget: float = 60.0,
        survived: int = 2,
        overlap: int = 2,
        in_flight: int = 1,
        expiry: bool = True,
        confirm: bool = True,
    ) -> Verdict:
        """Like `prove`, but the verdict is returned, whatever it is."""
        self._scenario.check()
        if overlap < 1 or in_flight < 0 or survived < 0:
            raise LabError("overlap is at least 1, in_flight and survived at least 0")
        if self.again is not None:
            self.verdict = rerun(self._scenario, self.again)
            return self.verdict
        limits = Limits(
            survived=survived,
            overlap=overlap,
            in_flight=in_flight,
            expiry=expiry,
            seconds=budget,
        )
        self.verdict = verdict(
            self._scenario, limits, self._progress, confirm=confirm, reuse=self.reuse
        )
        return self.verdict
