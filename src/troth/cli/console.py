"""`troth console`: the console in a browser on this machine, or for the people of a program."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli.acting import author
from troth.cli.options import DEFAULT_CONNECTION, By, Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from troth.access import Access
    from troth.app import Troth
    from troth.console.mount import Console
    from troth.console.serving import Server
    from troth.console.sign_in import Links

app = App(name="console")

ADVICE = "the console needs more packages: pip install 'troth[console]'"


@app.default
def console(
    program: Annotated[
        str | None,
        Parameter(
            help="The Troth object, as MODULE:NAME; only its database matters, and its people. Without it: the connection below."
        ),
    ] = None,
    /,
    *,
    host: Annotated[str, Parameter(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Which port; 0: any that is free.")] = 8321,
    base_path: Annotated[
        str | None,
        Parameter(help="Under which path browsers see it, if a proxy puts it there (/ops)."),
    ] = None,
    people: Annotated[
        bool,
        Parameter(
            negative="",
            help="The people of the program's Access sign in, with address and password; members of troth-viewer, "
            "troth-operator and troth-admin may. Needs a program.",
        ),
    ] = False,
    origin: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="What browsers call it, where a proxy changes Host (https://ops.example.com).",
        ),
    ] = (),
    role: Annotated[
        Literal["viewer", "operator", "admin"],
        Parameter(help="What whoever opens the link may do."),
    ] = "admin",
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Serve the console until Ctrl-C. It prints a link that works once, and another one when that was used.

    Example: troth console shop.app:troth --role viewer
    """
    troth, access = _of(program, connection)
    if people and access is None:
        raise UsageError("--people needs a program (MODULE:NAME) that includes an Access")
    require_packages()
    from troth.console.serving import Server, address, bind, is_loopback

    if not people and not is_loopback(host):
        msg = (
            f"{host} can be reached from other machines, and a link is not enough for that. Say --people, mount the console in "
            "your application, or keep it on this machine and forward its port (ssh -L)"
        )
        raise UsageError(msg)
    bound = bind(host, port)
    at = address(bound, base_path)

    def say() -> None:
        link = f"{at}/sign-in?token={links.token()}" if links else at
        print(f"console   {link}", file=sys.stderr, flush=True)

    links = None if people else links_for(role, by, say)
    made = _console(troth, access if people else None, links, base_path, origin)
    asyncio.run(_serve(Server(made, say), bound))


async def _serve(server: Server, bound: socket.socket) -> None:
    from troth.worker.supervisor import on_stop_signals

    with on_stop_signals(server.stop):
        await server.serve(sockets=[bound])


def links_for(role: str, by: str | None, used: Callable[[], None]) -> Links:
    """Links for whoever sits at this machine."""
    from troth.command.acts import Role
    from troth.console.model import Operator
    from troth.console.sign_in import Links

    return Links(Operator(author(by, None).by, Role.of(role)), used)


def _of(program: str | None, connection: Connection) -> tuple[Troth, Access | None]:
    """The Troth whose database it is, and its people."""
    from troth.app import Troth

    if program is None:
        return Troth(connection.database_url, schema=connection.schema), None
    from troth.access import Access
    from troth.cli import target

    found = target.find(program)
    if connection.database_url is not None:
        found.url = connection.database_url
    return found, next((part for part in found.parts if isinstance(part, Access)), None)


def _console(
    troth: Troth,
    access: Access | None,
    links: Links | None,
    base_path: str | None,
    origins: tuple[str, ...],
) -> Console:
    from troth.console.mount import Console

    return Console(troth, people=access, links=links, base_path=base_path, origins=origins)


def require_packages() -> None:
    """Raise `UsageError` if what the console is made of is not installed."""
    try:
        import troth.console.serving  # noqa: F401
    except ImportError as error:
        if error.name not in {"jinja2", "starlette", "uvicorn"}:
            raise
        raise UsageError(ADVICE) from None


class Beside:
    """A console that is served beside something else, for whoever sits at this machine."""

    def __init__(self) -> None:
        self._place: tuple[str, str] | None = None
        self._end: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def show(self, url: str, schema: str) -> None:
        """Serve the console of this database, in place of the one of another."""
        if (url, schema) == self._place:
            return
        await self.close()
        try:
            require_packages()
        except UsageError as error:
            print(f"console   {error}", file=sys.stderr, flush=True)
            return
        from troth.app import Troth
        from troth.console.serving import PORT, Server, address, bind

        try:
            bound = bind("127.0.0.1", PORT)
        except UsageError:  # another `troth dev` has it
            bound = bind("127.0.0.1", 0)
        at = address(bound, None)

        def say() -> None:
            print(f"console   {at}/sign-in?token={links.token()}", file=sys.stderr, flush=True)

        links = links_for("admin", None, say)
        made = _console(Troth(url, schema=schema), None, links, None, ())
        server = Server(made, say)
        self._place = (url, schema)
        self._end = server.stop
        self._task = asyncio.create_task(server.serve(sockets=[bound]), name="troth console")

    async def close(self) -> None:
        """End it, if there is one."""
        if self._task is not None and self._end is not None:
            self._end()
            await self._task
        self._place = self._task = self._end = None
