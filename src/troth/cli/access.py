"""`troth access`: people, their sessions, keys of machines, and why a decision was made as it was."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from troth.cli import access_acts, access_decisions, output
from troth.cli.acting import act, author, read, showing
from troth.cli.durations import Length
from troth.cli.options import DEFAULT_CONNECTION, By, Connection, Note, Output

if TYPE_CHECKING:
    from troth.access.explain import Explanation
    from troth.access.model import NewKey
    from troth.store.queries import Queries
    from troth.store.tx import Tx

app = App(name="access", help="Who may: people, sessions, API keys, and why something was decided.")
key = App(name="key", help="API keys of machines.")
person = App(name="person", help="People who log in.")
session = App(name="session", help="Who is logged in.")
for noun in (key, person, session):
    app.command(noun)
app.command(access_acts.acts)
app.command(access_decisions.decisions)

_DAY_S = 86400.0
Limit = Annotated[int, Parameter(help="At most so many.")]
Prefix = Annotated[str, Parameter(help="The key's prefix, as `troth access key list` shows it.")]
Email = Annotated[str, Parameter(help="The person's address.")]


# Why ------------------------------------------------------------------------------------------------------------------


@app.command
def why(
    decision: Annotated[UUID | None, Parameter(help="The id of the decision.")] = None,
    *,
    principal: Annotated[
        str | None, Parameter(help="Or the last one about this principal (an id) …")
    ] = None,
    action: Annotated[str | None, Parameter(help="… and this action …")] = None,
    resource: Annotated[str | None, Parameter(help="… and this resource (an id).")] = None,
    payloads: Annotated[bool, Parameter(negative="", help="Show what was known, too.")] = False,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Explain a decision by the policies of its time."""
    from troth.access import store
    from troth.access.explain import explain
    from troth.base.errors import UsageError
    from troth.store.plan import carry_out

    if (decision is None) == (principal is None):
        msg = "say which: the id of a decision, or --principal (with --action, --resource)"
        raise UsageError(msg)

    async def find(tx: Tx) -> Any:
        q = store.queries(connection.schema)
        found = decision
        if found is None:
            found = await carry_out(tx, store.last_decision(q, str(principal), action, resource))
        return None if found is None else await carry_out(tx, store.find_decision(q, found))

    recorded = read(connection, 10.0, find)
    if recorded is None:
        print("No such decision is recorded.", file=sys.stderr)
        return 1
    payloads = payloads and showing(connection, "decision", [recorded.id])
    _page(explain(recorded), payloads=payloads)
    return 0


def _page(told: Explanation, *, payloads: bool) -> None:
    from troth.access.explain import MEANS

    out, decision = output.console(), told.decision
    output.facts(
        out,
        {
            "decision": decision.id,
            "at": decision.at,
            "principal": decision.principal,
            "action": decision.action,
            "resource": decision.resource,
            "answer": MEANS[decision.because],
        },
    )
    for error in decision.errors:
        output.facts(out, {"error": error})
    if decision.policy_text is None:
        out.print("\nThe policies of that time were not kept, so nothing can be said about them.")
    for policy in told.decided:
        output.title(out, f"{policy.effect} {policy.id}, line {policy.line}")
        print(output.block(policy.text))
        if policy.reads:
            print(f"It reads {', '.join(policy.reads)}.")
    if told.near:
        output.title(out, "What came near")
    for near in told.near:
        lacks = [f"not true: {each}" for each in near.unmet]
        lacks += [f"not known any more, it reads what is private: {each}" for each in near.unknown]
        line = f"{near.policy.id}, line {near.policy.line}"
        print(output.cell(f"{line}: {'; '.join(lacks) or 'would permit it'}"))
    if told.far:
        output.title(out, "What is about something else")
    for name, parts in told.far:
        print(output.cell(f"{name}: another {', another '.join(parts)}"))
    if payloads:
        output.title(out, "What was known (without what is private)")
        print(output.cell(decision.inputs.decode()))


# Keys -----------------------------------------------------------------------------------------------------------------


@key.command(name="create")
def create_key(
    name: Annotated[str, Parameter(help="What it is for.")],
    *,
    scope: Annotated[
        list[str], Parameter(help="An action, Plan::* or *; may be repeated.", negative="")
    ],
    owner: Annotated[str | None, Parameter(help="The address of the person it belongs to.")] = None,
    tenant: Annotated[str | None, Parameter(help="The tenant it acts for.")] = None,
    lifetime: Annotated[
        Length | None, Parameter(help="It ends after so long. Without: when it is revoked.")
    ] = None,
    by: By = None,
    note: Note = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Make a machine and its first key. The key is shown once."""
    from troth.access import store
    from troth.store.plan import carry_out

    q = store.queries(connection.schema)

    async def do(tx: Tx) -> NewKey:
        belongs_to = None if owner is None else await _find(tx, q, owner)
        return await carry_out(tx, store.add_key(q, name, belongs_to, tenant, scope, lifetime))

    details = {"scopes": scope, "owner": owner, "tenant": tenant, "lifetime_s": lifetime}
    who = author(by, note)
    act(connection, who, "access.key.create", name, details, do, _secret, told=_prefix)


@key.command(name="list")
def list_keys(
    *, limit: Limit = 100, output_as: Output = "table",
    connection: Connection = DEFAULT_CONNECTION,
) -> None:  # fmt: skip
    """Show keys, the newest first; never their secrets."""
    from troth.access import store
    from troth.store.plan import carry_out

    rows = read(
        connection,
        10.0,
        lambda tx: carry_out(tx, store.list_keys(store.queries(connection.schema), limit)),
    )
    names = (
        "prefix",
        "name",
        "machine",
        "owner",
        "tenant",
        "scopes",
        "created_at",
        "expires_at",
        "revoked_at",
        "used_at",
    )
    output.show(
        [dict(zip(names, row, strict=True)) for row in rows], output_as, "There are no API keys."
    )


@key.command(name="rotate")
def rotate_key(
    prefix: Prefix,
    *,
    overlap: Annotated[Length, Parameter(help="How long the old key stays valid.")] = _DAY_S,
    lifetime: Annotated[Length | None, Parameter(help="The new one ends after so long.")] = None,
    by: By = None,
    note: Note = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Make a second key for the same machine. It is shown once."""
    from troth.access import store
    from troth.store.plan import carry_out

    q = store.queries(connection.schema)

    async def do(tx: Tx) -> NewKey:
        return await carry_out(tx, store.rotate_key(q, prefix, overlap, lifetime))

    details = {"overlap_s": overlap, "lifetime_s": lifetime}
    who = author(by, note)
    act(connection, who, "access.key.rotate", prefix, details, do, _secret, told=_prefix)


@key.command(name="revoke")
def revoke_key(
    prefix: Prefix, *, by: By = None, note: Note = None, connection: Connection = DEFAULT_CONNECTION
) -> None:
    """Make a key invalid, at once."""
    from troth.access import store
    from troth.store.plan import carry_out

    async def do(tx: Tx) -> None:
        await carry_out(tx, store.revoke_key(store.queries(connection.schema), prefix))

    who = author(by, note)
    act(
        connection, who, "access.key.revoke", prefix, {}, do,
        lambda _: f"{prefix} is not valid any more.",
    )  # fmt: skip


def _secret(made: NewKey) -> str:
    """What is shown once."""
    return made.key


def _prefix(made: NewKey) -> dict[str, Any]:
    return {"prefix": made.prefix}


# People ---------------------------------------------------------------------------------------------------------------


@person.command(name="add")
def add_person(
    email: Email,
    *,
    tenant: Annotated[str | None, Parameter(help="The tenant they belong to.")] = None,
    group: Annotated[
        list[str] | None, Parameter(help="A group; may be repeated.", negative="")
    ] = None,
    by: By = None,
    note: Note = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Add a person. The password is read from the terminal, or from the first line of standard input."""
    from troth.access import store
    from troth.access.passwords import Passwords
    from troth.store.plan import carry_out

    given = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    hashed = Passwords().hash_blocking(given)

    q = store.queries(connection.schema)

    async def do(tx: Tx) -> str:
        made = await carry_out(tx, store.add_person(q, email, hashed.phc, tenant, group or (), {}))
        return made.id

    details = {"tenant": tenant, "groups": group or []}
    act(
        connection, author(by, note), "access.person.add", email, details, do, str,
        told=lambda made: {"person": made},
    )  # fmt: skip


@person.command(name="disable")
def disable_person(
    email: Email, *, by: By = None, note: Note = None, connection: Connection = DEFAULT_CONNECTION
) -> None:
    """End a person's sessions; they cannot log in, and keys they own are not valid."""
    from troth.access import store
    from troth.store.plan import carry_out

    q = store.queries(connection.schema)

    async def do(tx: Tx) -> UUID:
        found = await _find(tx, q, email)
        await carry_out(tx, store.change_person(q, found, disabled=True))
        return found

    act(
        connection, author(by, note), "access.person.disable", email, {}, do,
        lambda _: f"{output.cell(email)} is disabled.", told=lambda found: {"person": found},
    )  # fmt: skip


# Sessions -------------------------------------------------------------------------------------------------------------


@session.command(name="list")
def list_sessions(
    *, email: Annotated[str | None, Parameter(help="Only those of this person.")] = None, limit: Limit = 100,
    output_as: Output = "table", connection: Connection = DEFAULT_CONNECTION,
) -> None:  # fmt: skip
    """Show sessions that have not ended, the last seen first."""
    from troth.access import store
    from troth.store.plan import carry_out

    q = store.queries(connection.schema)
    rows = read(connection, 10.0, lambda tx: carry_out(tx, store.list_sessions(q, email, limit)))
    names = ("id", "email", "client", "created_at", "seen_at", "expires_at")
    output.show(
        [dict(zip(names, row, strict=True)) for row in rows], output_as, "Nobody is logged in."
    )


@session.command(name="end")
def end_session(
    session_id: Annotated[UUID | None, Parameter(help="The id of the session.")] = None,
    *,
    email: Annotated[str | None, Parameter(help="Or all sessions of this person.")] = None,
    by: By = None,
    note: Note = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """End a session, or all sessions of a person."""
    from troth.access import store
    from troth.base.errors import UsageError
    from troth.store.plan import carry_out

    if (session_id is None) == (email is None):
        msg = "say which: the id of a session, or --email"
        raise UsageError(msg)

    q = store.queries(connection.schema)

    async def one(tx: Tx) -> int:
        assert session_id is not None
        return int(await carry_out(tx, store.end_session(q, session_id)))

    async def every(tx: Tx) -> int:
        return await carry_out(tx, store.end_sessions(q, await _find(tx, q, str(email))))

    who = author(by, note)
    name, about, do = (
        ("access.session.end", str(session_id), one)
        if email is None
        else ("access.session.end_all", email, every)
    )
    count = act(
        connection, who, name, about, {}, do, lambda count: f"{count} ended.",
        told=lambda count: {"sessions": count},
    )  # fmt: skip
    return 0 if count or session_id is None else 1


async def _find(tx: Tx, q: Queries, email: str) -> UUID:
    from troth.access import store
    from troth.base.errors import UsageError
    from troth.store.plan import carry_out

    found = await carry_out(tx, store.find_person(q, email))
    if found is None:
        msg = f"nobody has the address {email}"
        raise UsageError(msg)
    return UUID(found.id)
