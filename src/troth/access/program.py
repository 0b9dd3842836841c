"""`Access`: all of this room, as one definition that a program includes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

from troth.access import decide as deciding
from troth.access import rules, store
from troth.access.keys import Keys
from troth.access.model import (
    Decision,
    Denied,
    LoggedIn,
    Principal,
    Resource,
    SessionRules,
    Throttle,
)
from troth.access.passwords import Passwords
from troth.access.people import Bound, People
from troth.access.policies import Policies, read
from troth.access.sessions import Sessions
from troth.access.tenants import Tenants
from troth.base.errors import UsageError
from troth.store.parts import Relay, Workplace
from troth.store.plan import Plan, Statement, carry_out, carry_out_blocking
from troth.store.tx import BlockingTx, Tx

log = logging.getLogger("troth.access")

# Opens a short transaction of its own: `pool.connection`, as it is.
Begin: TypeAlias = Callable[[], AbstractAsyncContextManager[Tx]]
BeginBlocking: TypeAlias = Callable[[], AbstractContextManager[BlockingTx]]
# Takes a statement that is sent together with COMMIT.
AtCommit: TypeAlias = Callable[[Statement], None]

_OFTEN_S = 900.0  # between looks for what has ended
_NOTHING: Mapping[str, Any] = {}


class Access(Bound):
    """Who may do what in a program.

    *policies* and *schema*: Cedar, each a path or a text; an invalid policy raises `PolicyError` here, so that a program
    does not start with it. *namespace*: of the schema. *private*: attributes that decisions are made with and that are
    not recorded, as `Person.salary` or `context.pin`. *keep_decisions* None: for ever.
    """

    def __init__(
        self,
        name: str = "access",
        *,
        policies: Path | str | None = None,
        schema: Path | str | None = None,
        namespace: str = "",
        private: Collection[str] = (),
        passwords: Passwords | None = None,
        sessions: SessionRules | None = None,
        throttle: Throttle | None = None,
        keep_decisions: timedelta | None = timedelta(days=400),
    ) -> None:
        super().__init__(namespace)
        if (policies is None) != (schema is None):
            msg = "policies and their schema belong together: give both, or neither to authenticate only"
            raise UsageError(msg)
        self.name = name
        self._policies = (
            read(policies, schema) if policies is not None and schema is not None else None
        )
        self._private = frozenset(private)
        self._throttle = throttle or Throttle()
        self.people = People(passwords or Passwords(), namespace)
        self.sessions = Sessions(sessions or SessionRules())
        self.keys = Keys()
        self.tenants = Tenants()
        self.relays: Sequence[Relay] = (Cleaning(self, keep_decisions),)

    def bind(self, schema: str) -> None:
        """Work with the tables of this schema. `troth.include` calls it."""
        queries = store.queries(schema)
        self.bind_queries(queries)
        for part in (self.people, self.sessions, self.keys, self.tenants):
            part.bind_queries(queries)

    @property
    def policies(self) -> Policies:
        """Raises `UsageError` if this program has none."""
        if self._policies is None:
            msg = "this Access has no policies: Access(policies=…, schema=…)"
            raise UsageError(msg)
        return self._policies

    # Who it is --------------------------------------------------------------------------------------------------------

    async def log_in(
        self, begin: Begin, email: str, password: str, *, client: str, replaces: str | None = None
    ) -> LoggedIn:
        """Check a password and begin a session.

        *begin* opens a short transaction (`pool.connection`): one counts the attempt before the password is verified,
        one begins the session; none is open meanwhile, and no rollback of yours forgets a guess. *client*: where it comes
        from, an IP address. *replaces*: a session token that the browser had; it ends. Raises `WrongCredentialsError`,
        `TooManyAttemptsError`.
        """
        normal = _address(email)
        async with begin() as tx:
            attempt = await carry_out(tx, store.begin_login(self.q, self._throttle, normal, client))
        fits, rehashed = await self.people.passwords.verify(password, attempt.password)
        if not fits:
            raise store.wrong_credentials()
        async with begin() as tx:
            return await carry_out(tx, self._finish(attempt, rehashed, replaces))

    def log_in_blocking(
        self,
        begin: BeginBlocking,
        email: str,
        password: str,
        *,
        client: str,
        replaces: str | None = None,
    ) -> LoggedIn:
        """As `log_in`, from a thread."""
        normal = _address(email)
        with begin() as tx:
            attempt = carry_out_blocking(
                tx, store.begin_login(self.q, self._throttle, normal, client)
            )
        fits, rehashed = self.people.passwords.verify_blocking(password, attempt.password)
        if not fits:
            raise store.wrong_credentials()
        with begin() as tx:
            return carry_out_blocking(tx, self._finish(attempt, rehashed, replaces))

    async def authenticate(
        self, tx: Tx, *, session_token: str | None = None, api_key: str | None = None
    ) -> Principal:
        """Who has this token or this key. One statement. Raises `NotAuthenticatedError`."""
        return await carry_out(tx, self._authenticate(session_token, api_key))

    def authenticate_blocking(
        self, tx: BlockingTx, *, session_token: str | None = None, api_key: str | None = None
    ) -> Principal:
        """As `authenticate`, from a thread."""
        return carry_out_blocking(tx, self._authenticate(session_token, api_key))

    def _authenticate(self, session_token: str | None, api_key: str | None) -> Plan[Principal]:
        if session_token is not None and api_key is None:
            return store.of_token(self.q, session_token)
        if api_key is not None and session_token is None:
            return store.of_key(self.q, api_key)
        msg = "authenticate takes a session_token or an api_key"
        raise UsageError(msg)

    def _finish(
        self, attempt: store.Attempt, rehashed: str | None, replaces: str | None
    ) -> Plan[LoggedIn]:
        return store.finish_login(
            self.q, self.sessions.rules, self._throttle, attempt, rehashed, replaces
        )

    # Who may ----------------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        principal: Principal,
        action: str,
        resource: Resource,
        context: Mapping[str, Any] = _NOTHING,
    ) -> Decision:
        """Ask the policies, and record nothing: for what is only shown, and for whoever records it themselves."""
        return deciding.decide(
            self.policies,
            principal,
            action,
            resource,
            context,
            namespace=self._namespace,
            private=self._private,
        )

    async def decide(
        self,
        tx: Tx,
        principal: Principal,
        action: str,
        resource: Resource,
        context: Mapping[str, Any] = _NOTHING,
    ) -> Decision:
        """Ask the policies, and record the answer, yes or no, in this transaction. Does not raise for a no."""
        decision = self.evaluate(principal, action, resource, context)
        await self.record(tx, decision)
        return decision

    def decide_blocking(
        self,
        tx: BlockingTx,
        principal: Principal,
        action: str,
        resource: Resource,
        context: Mapping[str, Any] = _NOTHING,
    ) -> Decision:
        """As `decide`, from a thread."""
        decision = self.evaluate(principal, action, resource, context)
        self.record_blocking(tx, decision)
        return decision

    async def require(
        self,
        tx: Tx,
        principal: Principal,
        action: str,
        resource: Resource,
        context: Mapping[str, Any] = _NOTHING,
        *,
        at_commit: AtCommit | None = None,
    ) -> Decision:
        """As `decide`; raises `Denied` for a no, which `recording_denials` records when your transaction is rolled back.

        *at_commit* (`command.at_commit` of an idempotent request) takes the record along with COMMIT: a round trip less.
        """
        decision = self.evaluate(principal, action, resource, context)
        if not decision.allowed:
            raise _denied(decision)
        if at_commit is None:
            await self.record(tx, decision)
        else:
            at_commit(self.recording(decision))
        return decision

    def require_blocking(
        self,
        tx: BlockingTx,
        principal: Principal,
        action: str,
        resource: Resource,
        context: Mapping[str, Any] = _NOTHING,
        *,
        at_commit: AtCommit | None = None,
    ) -> Decision:
        """As `require`, from a thread."""
        decision = self.evaluate(principal, action, resource, context)
        if not decision.allowed:
            raise _denied(decision)
        if at_commit is None:
            self.record_blocking(tx, decision)
        else:
            at_commit(self.recording(decision))
        return decision

    def recording(self, decision: Decision) -> Statement:
        """The statement that writes a decision down, for whoever sends it with others; again changes nothing."""
        return store.record(self.q, self.policies, decision)

    async def record(self, tx: Tx, decision: Decision) -> None:
        """Write a decision down. Again changes nothing."""
        statement = self.recording(decision)
        await tx.execute(statement.query, statement.params)

    def record_blocking(self, tx: BlockingTx, decision: Decision) -> None:
        """As `record`, from a thread."""
        statement = self.recording(decision)
        tx.execute(statement.query, statement.params)

    @asynccontextmanager
    async def recording_denials(self, begin: Begin) -> AsyncIterator[None]:
        """Around a transaction: a `Denied` that leaves it is recorded in another one, and goes on its way.

        Around, so that the connection of the first has been given back: a pool never waits for itself.
        """
        try:
            yield
        except Denied as denied:
            async with begin() as tx:
                await self.record(tx, denied.decision)
            raise

    @contextmanager
    def recording_denials_blocking(self, begin: BeginBlocking) -> Iterator[None]:
        """As `recording_denials`, from a thread."""
        try:
            yield
        except Denied as denied:
            with begin() as tx:
                self.record_blocking(tx, denied.decision)
            raise


class Cleaning:
    """Deletes what nobody can use any more: sessions that ended, failures that leaked away, decisions past their time."""

    channel = "access"  # nobody rings it: nothing here is urgent
    connections = 1

    def __init__(self, access: Access, keep_decisions: timedelta | None) -> None:
        self._access = access
        self._keep_s = None if keep_decisions is None else keep_decisions.total_seconds()

    @property
    def name(self) -> str:
        return f"cleaning of {self._access.name}"

    async def work(self, place: Workplace) -> None:
        """Until cancelled."""
        while True:
            async with place.connections.connection() as connection:
                count = await carry_out(connection, store.forget(self._access.q, self._keep_s))
            await place.alarm.wait(1.0 if count >= 1000 else _OFTEN_S)


def _address(email: str) -> str:
    """The address to look for: what is none is nobody's, and is counted like one."""
    try:
        return rules.normal_email(email)
    except UsageError:
        return f"not an address: {rules.hashed(email).hex()}"


def _denied(decision: Decision) -> Denied:
    denied = Denied(decision)
    log.info("%s", denied)
    return denied
