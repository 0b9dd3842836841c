"""The only place that runs the statements of access: each function is a plan, for coroutines and threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from troth.access import rules
from troth.access.model import (
    Because,
    Decision,
    EmailTakenError,
    LoggedIn,
    NewKey,
    NotAuthenticatedError,
    Principal,
    Recorded,
    Ref,
    SessionRules,
    Throttle,
    TooManyAttemptsError,
    UnprotectedError,
    WrongCredentialsError,
)
from troth.access.policies import Policies
from troth.base import codec, ids
from troth.base.errors import UsageError
from troth.store.plan import Plan, Statement
from troth.store.queries import Queries, load
from troth.store.tx import Row

PERSON, MACHINE = "Person", "Machine"


def queries(schema: str) -> Queries:
    """The statements of access for one schema."""
    return load("troth.access", schema)


def _person(
    person: UUID,
    tenant: str | None,
    groups: Sequence[str],
    attributes: str,
    session: UUID | None = None,
) -> Principal:
    told = codec.decode(attributes.encode())
    return Principal(PERSON, str(person), tenant, tuple(groups), told, session=session)


# People ---------------------------------------------------------------------------------------------------------------


def add_person(
    q: Queries,
    email: str,
    password: str | None,
    tenant: str | None,
    groups: Sequence[str],
    attributes: Mapping[str, Any],
) -> Plan[Principal]:
    """A new person. *password* is hashed, *attributes* are Cedar's JSON."""
    person, told = ids.new_id(), codec.encode(attributes).decode()
    params = (person, rules.normal_email(email), password, tenant, list(groups), told)
    if not (yield Statement(q.add_person, params)):
        msg = "another person has this address"
        raise EmailTakenError(msg)
    return _person(person, tenant, groups, told)


def change_person(
    q: Queries, person: UUID, *, password: str | None = None, groups: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None, disabled: bool | None = None,
) -> Plan[None]:  # fmt: skip
    """Change what is not None, and end all sessions of the person."""
    told = None if attributes is None else codec.encode(attributes).decode()
    listed = None if groups is None else list(groups)
    rows = yield Statement(q.change_person, (person, password, listed, told, disabled))
    if not rows[0][0]:
        msg = f"there is no person {person}"
        raise UsageError(msg)


def remove_person(q: Queries, person: UUID) -> Plan[None]:
    """Forget a person; nobody has their address any more."""
    rows = yield Statement(q.remove_person, (person,))
    if not rows:
        msg = f"there is no person {person}"
        raise UsageError(msg)


def find_person(q: Queries, email: str) -> Plan[Principal | None]:
    """The person with this address, disabled or not."""
    rows = yield Statement(q.find_person, (rules.normal_email(email),))
    return _person(rows[0][0], *rows[0][2:5]) if rows else None


def address_of(q: Queries, person: UUID) -> Plan[str | None]:
    """The address of a person."""
    rows = yield Statement(q.address_of, (person,))
    return str(rows[0][0]) if rows else None


# Logging in -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """A log-in that was counted and may be made. *password* is the hash to verify; None: nobody has this address."""

    person: UUID | None
    password: str | None = field(repr=False)
    keys: tuple[bytes, bytes, bytes]
    client: str


def begin_login(q: Queries, throttle: Throttle, email: str, client: str) -> Plan[Attempt]:
    """Count an attempt. Raises `TooManyAttemptsError`."""
    keys = rules.throttle_keys(email, client)
    limits = (throttle.address, throttle.client, throttle.pair)
    params = (
        email, list(keys), rules.hashed(client), [limit.free for limit in limits],
        [limit.leak.total_seconds() for limit in limits], [limit.first.total_seconds() for limit in limits],
        [limit.cap.total_seconds() for limit in limits],
    )  # fmt: skip
    ((person, password, wait_s),) = yield Statement(q.begin_login, params)
    if wait_s is not None:
        raise TooManyAttemptsError(wait_s)
    return Attempt(person, password, keys, client)


def finish_login(
    q: Queries,
    sessions: SessionRules,
    throttle: Throttle,
    attempt: Attempt,
    rehashed: str | None,
    replaces: str | None,
) -> Plan[LoggedIn]:
    """Begin the session of an attempt whose password was right."""
    session, token = ids.new_id(), rules.new_token()
    params = (
        attempt.person, attempt.password, rehashed, list(attempt.keys), rules.hashed(attempt.client),
        throttle.client.free, session, rules.hashed(token), attempt.client,
        sessions.idle.total_seconds(), sessions.lifetime.total_seconds(),
        None if replaces is None else rules.hashed(replaces),
    )  # fmt: skip
    ((tenant, groups, attributes, expires_at),) = yield Statement(q.finish_login, params)
    if expires_at is None or attempt.person is None:
        raise wrong_credentials()
    return LoggedIn(token, _person(attempt.person, tenant, groups, attributes, session), expires_at)


def wrong_credentials() -> WrongCredentialsError:
    """The same words, whatever was wrong."""
    return WrongCredentialsError("the address or the password is wrong")


# Sessions -------------------------------------------------------------------------------------------------------------


def start_session(
    q: Queries, sessions: SessionRules, person: UUID, client: str | None
) -> Plan[LoggedIn]:
    """A session for a person whom the caller has recognised."""
    session, token = ids.new_id(), rules.new_token()
    times = (sessions.idle.total_seconds(), sessions.lifetime.total_seconds())
    rows = yield Statement(q.start_session, (person, session, rules.hashed(token), client, *times))
    if not rows:
        msg = f"there is no person {person}, or they are disabled"
        raise NotAuthenticatedError(msg)
    tenant, groups, attributes, expires_at = rows[0]
    return LoggedIn(token, _person(person, tenant, groups, attributes, session), expires_at)


def of_token(q: Queries, token: str) -> Plan[Principal]:
    """Whose session it is."""
    rows = yield Statement(q.authenticate_session, (rules.hashed(token),))
    session, person, tenant, groups, attributes = rows[0]
    if session is None:
        msg = "there is no such session, or it has ended: log in again"
        raise NotAuthenticatedError(msg)
    return _person(person, tenant, groups, attributes, session)


def renew_session(q: Queries, token: str) -> Plan[str]:
    """Another token for the same session."""
    fresh = rules.new_token()
    if not (yield Statement(q.renew_session, (rules.hashed(fresh), rules.hashed(token)))):
        msg = "there is no such session, or it has ended: log in again"
        raise NotAuthenticatedError(msg)
    return fresh


def end_session(q: Queries, which: str | UUID) -> Plan[bool]:
    """End a session by its token or id; whether there was one."""
    if isinstance(which, UUID):
        return bool((yield Statement(q.end_session_by_id, (which,))))
    return bool((yield Statement(q.end_session, (rules.hashed(which),))))


def end_sessions(q: Queries, person: UUID) -> Plan[int]:
    """End all sessions of a person; how many."""
    return len((yield Statement(q.end_sessions, (person,))))


def list_sessions(q: Queries, email: str | None, limit: int) -> Plan[list[Row]]:
    """(id, email, client, created, seen, expires) of sessions that have not ended."""
    normal = None if email is None else rules.normal_email(email)
    return (yield Statement(q.list_sessions, {"email": normal, "limit": limit}))


# Keys of machines -----------------------------------------------------------------------------------------------------


def add_key(
    q: Queries,
    name: str,
    owner: UUID | None,
    tenant: str | None,
    scopes: Sequence[str],
    lifetime_s: float | None,
) -> Plan[NewKey]:
    """A machine and its first key."""
    machine, checked = ids.new_id(), rules.check_scopes(scopes)
    while True:  # 60 bits seldom meet
        prefix, secret = rules.new_key()
        params = (
            prefix,
            rules.hashed(secret),
            machine,
            name,
            owner,
            tenant,
            list(checked),
            lifetime_s,
        )
        if (yield Statement(q.add_key, params)):
            return NewKey(rules.written_key(prefix, secret), prefix, machine, checked)


def rotate_key(q: Queries, old: str, overlap_s: float, lifetime_s: float | None) -> Plan[NewKey]:
    """A second key for the same machine; the old one ends after the overlap."""
    prefix, secret = rules.new_key()
    params = {
        "old": old, "overlap": overlap_s, "prefix": prefix, "secret": rules.hashed(secret), "lifetime": lifetime_s,
    }  # fmt: skip
    rows = yield Statement(q.rotate_key, params)
    if not rows:
        raise _no_key(old)
    return NewKey(rules.written_key(prefix, secret), prefix, rows[0][0], tuple(rows[0][1]))


def revoke_key(q: Queries, prefix: str) -> Plan[None]:
    """The key is not valid from now on."""
    if not (yield Statement(q.revoke_key, (prefix,))):
        raise _no_key(prefix)


def list_keys(q: Queries, limit: int) -> Plan[list[Row]]:
    """Keys, the newest first; columns as in the statement."""
    return (yield Statement(q.list_keys, (limit,)))


def of_key(q: Queries, key: str) -> Plan[Principal]:
    """Whose key it is. One that was never given out takes one statement, too."""
    prefix, secret = rules.read_key(key) or ("", "")
    theirs = rules.hashed(secret)
    rows = yield Statement(q.authenticate_key, (prefix, theirs))
    kept, machine, owner, tenant, scopes = rows[0]
    if not rules.same(kept or bytes(len(theirs)), theirs) or machine is None:
        msg = "this API key is not valid"
        raise NotAuthenticatedError(msg)
    named = None if owner is None else str(owner)
    return Principal(MACHINE, str(machine), tenant, scopes=tuple(scopes), owner=named)


def _no_key(prefix: str) -> UsageError:
    return UsageError(f"no valid key has the prefix {prefix!r}: troth access key list")


# Decisions ------------------------------------------------------------------------------------------------------------


def record(q: Queries, policies: Policies, decision: Decision) -> Statement:
    """The statement that writes a decision down, once, and the text of its policies if that is new."""
    who, what = decision.principal, decision.resource
    known = decision.policy_set == policies.digest
    params = (
        decision.id, who.type, who.id, _storable(decision.action), _storable(what.type), _storable(what.id), decision.allowed, decision.because.value,
        list(decision.policies), [_storable(error) for error in decision.errors], decision.digest,
        decision.inputs.decode(), decision.policy_set, policies.text if known else None, policies.schema_text if known else None,
    )  # fmt: skip
    return Statement(q.record_decision, params, returns=False)


def _storable(text: str) -> str:
    """PostgreSQL's texts have no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def find_decision(q: Queries, decision: UUID) -> Plan[Recorded | None]:
    """A decision as it was recorded."""
    rows = yield Statement(q.decision, (decision,))
    if not rows:
        return None
    (
        made,
        at,
        who,
        who_id,
        action,
        what,
        what_id,
        because,
        policies,
        errors,
        inputs,
        digest,
        text,
        schema,
    ) = rows[0]
    assert isinstance(at, datetime)
    return Recorded(
        made, at, Ref(who, who_id), action, Ref(what, what_id), Because(because), tuple(policies), tuple(errors),
        inputs.encode(), bytes(digest), text, schema,
    )  # fmt: skip


def last_decision(
    q: Queries, principal: str, action: str | None, resource: str | None
) -> Plan[UUID | None]:
    """The last decision about a principal (and an action, and a resource)."""
    params = {"principal": principal, "action": action, "resource": resource}
    rows = yield Statement(q.last_decision, params)
    return rows[0][0] if rows else None


# Tenants --------------------------------------------------------------------------------------------------------------


def as_tenant(q: Queries, tenant: str, role: str | None) -> Plan[None]:
    """Until the transaction ends, see and write only what is *tenant*'s."""
    if not tenant:
        msg = "an empty tenant is nobody: pass the tenant of the principal"
        raise UsageError(msg)
    yield Statement(q.as_tenant, {"tenant": tenant, "role": role})


def protect(q: Queries, table: str, column: str, *, apply: bool) -> Plan[str]:
    """The statements that isolate tenants in a table, carried out or only written."""
    ((script,),) = yield Statement(q.protect, (table, column, apply))
    return str(script)


def check_tenants(q: Queries, schema: str, column: str, role: str | None) -> Plan[None]:
    """Raise `UnprotectedError` if a tenant could see another's rows, as far as the catalog tells."""
    found = yield Statement(q.bypass, (role,))
    if not found:
        msg = f"there is no role {role}"
        raise UsageError(msg)
    name, is_super, bypasses = found[0]
    problems = []
    if is_super or bypasses:
        what = "is a superuser" if is_super else "has BYPASSRLS"
        problems.append(
            f"the role {name} {what}, so row-level security does not hold for it: use another role"
        )
    rows = yield Statement(q.unprotected, {"schema": schema, "column": column})
    problems += [f"{table}: {why}" for table, why in rows]
    if problems:
        raise UnprotectedError("tenants are not isolated: " + "; ".join(problems))


def forget(q: Queries, keep_decisions_s: float | None) -> Plan[int]:
    """Delete up to a thousand of each that nobody can use any more; how many."""
    ((count,),) = yield Statement(q.forget, (keep_decisions_s,))
    return int(count)
