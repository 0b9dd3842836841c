"""Passwords: argon2id (RFC 9106), computed in a thread, with the parameters that this program has now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from troth.access import rules
from troth.access.model import PasswordRefusedError
from troth.base.errors import UsageError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

_LONGEST = 1024  # bytes: hashing time grows with what a stranger sends


@dataclass(frozen=True, slots=True)
class HashedPassword:
    """A password that was taken and hashed. *phc*: its hash in the PHC string format."""

    phc: str = field(repr=False)


@dataclass(frozen=True)
class Passwords:
    """How passwords are hashed, and which are taken.

    The defaults are RFC 9106's second recommended option (section 4): 64 MiB, 3 passes, 4 lanes. NIST SP 800-63B-4 asks
    for 15 characters where a password is the only factor.
    """

    memory_kib: int = 65536
    passes: int = 3
    lanes: int = 4
    minimum_length: int = 8

    @cached_property
    def _hasher(self) -> PasswordHasher:
        try:
            from argon2 import PasswordHasher
        except ImportError:
            msg = "passwords need argon2-cffi: pip install 'troth[access]'"
            raise UsageError(msg) from None
        return PasswordHasher(self.passes, self.memory_kib, self.lanes)

    @cached_property
    def nobody(self) -> str:
        """A hash that no password fits: unknown addresses are verified against it, so that they take as long."""
        return self._hasher.hash(rules.new_token())

    def hash_blocking(self, password: str) -> HashedPassword:
        """Takes some 50 ms of a processor. Raises `PasswordRefusedError`."""
        normal = rules.normal_password(password)
        if len(password) < self.minimum_length:
            msg = f"the password is too short: at least {self.minimum_length} characters"
            raise PasswordRefusedError(msg)
        if len(normal) > _LONGEST:
            msg = f"the password is too long: at most {_LONGEST} bytes"
            raise PasswordRefusedError(msg)
        return HashedPassword(self._hasher.hash(normal))

    async def hash(self, password: str) -> HashedPassword:
        """As `hash_blocking`, in a thread. Do it before the transaction, which is shorter then."""
        return await asyncio.to_thread(self.hash_blocking, password)

    def verify_blocking(self, password: str, kept: str | None) -> tuple[bool, str | None]:
        """Does it fit, and the hash with today's parameters, if *kept* has others. *kept* None: nobody's, never fits."""
        from argon2.exceptions import VerificationError

        normal = rules.normal_password(password)
        nobody = self.nobody  # made by whoever comes first, known or not
        known = kept or nobody
        try:
            self._hasher.verify(known, normal[:_LONGEST])
        except VerificationError:
            return False, None
        if kept is None or len(normal) > _LONGEST:
            return False, None
        return True, self._hasher.hash(normal) if self._hasher.check_needs_rehash(kept) else None

    async def verify(self, password: str, kept: str | None) -> tuple[bool, str | None]:
        """As `verify_blocking`, in a thread."""
        return await asyncio.to_thread(self.verify_blocking, password, kept)
