"""People: adding them, and changing what they are known by. Every function has a twin for threads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from troth.access import rules, store
from troth.access.model import Principal
from troth.access.passwords import HashedPassword, Passwords
from troth.base.errors import UsageError
from troth.store.plan import Plan, carry_out, carry_out_blocking
from troth.store.queries import Queries
from troth.store.tx import BlockingTx, Tx


class Bound:
    """Something of a program that knows its statements once the program has a schema."""

    def __init__(self, namespace: str = "") -> None:
        self._queries: Queries | None = None
        self._namespace = namespace

    def bind_queries(self, queries: Queries) -> None:
        """Work with these."""
        self._queries = queries

    @property
    def q(self) -> Queries:
        if self._queries is None:
            msg = "include the Access first: access = troth.include(Access(…))"
            raise UsageError(msg)
        return self._queries


class People(Bound):
    """The people of a program: `access.people`."""

    def __init__(self, passwords: Passwords, namespace: str) -> None:
        super().__init__(namespace)
        self.passwords = passwords

    async def add(
        self, tx: Tx, email: str, password: str | HashedPassword | None, *, tenant: str | None = None,
        groups: Sequence[str] = (), attributes: Mapping[str, Any] | None = None,
    ) -> Principal:  # fmt: skip
        """A new person. *password* None: they log in by other means (`access.sessions.start`).

        Hash it before the transaction (`await access.people.passwords.hash(…)`) to keep that short. *attributes* are
        what policies read of them. Raises `EmailTakenError`, `PasswordRefusedError`, and `UsageError` for an address that is none.
        """
        if isinstance(password, str):
            password = await asyncio.to_thread(self.passwords.hash_blocking, password)
        told = rules.cedar_record(attributes or {}, "Person", self._namespace)
        plan = store.add_person(self.q, email, _phc(password), tenant, groups, told)
        return await carry_out(tx, plan)

    def add_blocking(
        self, tx: BlockingTx, email: str, password: str | HashedPassword | None, *, tenant: str | None = None,
        groups: Sequence[str] = (), attributes: Mapping[str, Any] | None = None,
    ) -> Principal:  # fmt: skip
        """As `add`, from a thread."""
        hashed = self.passwords.hash_blocking(password) if isinstance(password, str) else password
        told = rules.cedar_record(attributes or {}, "Person", self._namespace)
        plan = store.add_person(self.q, email, _phc(hashed), tenant, groups, told)
        return carry_out_blocking(tx, plan)

    async def change(
        self, tx: Tx, person: UUID | str, *, password: str | HashedPassword | None = None,
        groups: Sequence[str] | None = None, attributes: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Change what is given, and end all sessions of the person: give the present one a new one by `sessions.start`.

        A new password also forgets the clients that the person is known by. Raises `PasswordRefusedError`, `UsageError`.
        """
        if isinstance(password, str):
            password = await asyncio.to_thread(self.passwords.hash_blocking, password)
        await carry_out(tx, self._change(person, password, groups, attributes))

    def change_blocking(
        self, tx: BlockingTx, person: UUID | str, *, password: str | HashedPassword | None = None,
        groups: Sequence[str] | None = None, attributes: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """As `change`, from a thread."""
        hashed = self.passwords.hash_blocking(password) if isinstance(password, str) else password
        carry_out_blocking(tx, self._change(person, hashed, groups, attributes))

    async def disable(self, tx: Tx, person: UUID | str) -> None:
        """Nobody is this person any more: sessions end, keys they own are not valid, log-ins fail like wrong ones."""
        await carry_out(tx, store.change_person(self.q, as_uuid(person), disabled=True))

    def disable_blocking(self, tx: BlockingTx, person: UUID | str) -> None:
        """As `disable`, from a thread."""
        carry_out_blocking(tx, store.change_person(self.q, as_uuid(person), disabled=True))

    async def enable(self, tx: Tx, person: UUID | str) -> None:
        """Take back `disable`; sessions do not come back."""
        await carry_out(tx, store.change_person(self.q, as_uuid(person), disabled=False))

    def enable_blocking(self, tx: BlockingTx, person: UUID | str) -> None:
        """As `enable`, from a thread."""
        carry_out_blocking(tx, store.change_person(self.q, as_uuid(person), disabled=False))

    async def remove(self, tx: Tx, person: UUID | str) -> None:
        """Forget a person, their sessions and keys; the address is free again. Decisions about them stay.

        Raises `UsageError` if there is no such person.
        """
        await carry_out(tx, store.remove_person(self.q, as_uuid(person)))

    def remove_blocking(self, tx: BlockingTx, person: UUID | str) -> None:
        """As `remove`, from a thread."""
        carry_out_blocking(tx, store.remove_person(self.q, as_uuid(person)))

    async def find(self, tx: Tx, email: str) -> Principal | None:
        """The person with this address, disabled or not. Do not tell strangers what it returns."""
        return await carry_out(tx, store.find_person(self.q, email))

    async def address(self, tx: Tx, person: UUID | str) -> str | None:
        """The address of a person, for people to read; None if there is no such person."""
        return await carry_out(tx, store.address_of(self.q, as_uuid(person)))

    def address_blocking(self, tx: BlockingTx, person: UUID | str) -> str | None:
        """As `address`, from a thread."""
        return carry_out_blocking(tx, store.address_of(self.q, as_uuid(person)))

    def find_blocking(self, tx: BlockingTx, email: str) -> Principal | None:
        """As `find`, from a thread."""
        return carry_out_blocking(tx, store.find_person(self.q, email))

    def _change(
        self, person: UUID | str, password: HashedPassword | None, groups: Sequence[str] | None,
        attributes: Mapping[str, Any] | None,
    ) -> Plan[None]:  # fmt: skip
        told = (
            None
            if attributes is None
            else rules.cedar_record(attributes, "Person", self._namespace)
        )
        return store.change_person(
            self.q,
            as_uuid(person),
            password=_phc(password),
            groups=groups,
            attributes=told,
        )


def _phc(password: HashedPassword | None) -> str | None:
    return None if password is None else password.phc


def as_uuid(person: UUID | str) -> UUID:
    """The id of a person, as a principal or a caller has it. Raises `UsageError`."""
    try:
        return person if isinstance(person, UUID) else UUID(person)
    except ValueError:
        msg = f"{person!r} is not the id of a person"
        raise UsageError(msg) from None
