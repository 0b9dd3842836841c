"""API keys: `troth_<prefix>_<secret>`. The prefix finds the key and may be shown; of the secret only the hash is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from troth.access import store
from troth.access.model import NewKey
from troth.access.people import Bound, as_uuid
from troth.store.plan import Plan, carry_out, carry_out_blocking
from troth.store.tx import BlockingTx, Tx

_DAY = timedelta(days=1)


class Keys(Bound):
    """The API keys of a program: `access.keys`."""

    async def create(
        self, tx: Tx, name: str, *, scopes: Sequence[str], owner: UUID | str | None = None, tenant: str | None = None,
        lifetime: timedelta | None = None,
    ) -> NewKey:  # fmt: skip
        """A machine and its first key. *scopes*: the actions it is for, `Plan::*` for all that begin so, `*` for all.

        *owner*: the person it belongs to; while they are disabled it is not valid. *lifetime* None: until it is revoked.
        """
        return await carry_out(tx, self._create(name, scopes, owner, tenant, lifetime))

    def create_blocking(
        self, tx: BlockingTx, name: str, *, scopes: Sequence[str], owner: UUID | str | None = None,
        tenant: str | None = None, lifetime: timedelta | None = None,
    ) -> NewKey:  # fmt: skip
        """As `create`, from a thread."""
        return carry_out_blocking(tx, self._create(name, scopes, owner, tenant, lifetime))

    async def rotate(
        self, tx: Tx, prefix: str, *, overlap: timedelta = _DAY, lifetime: timedelta | None = None
    ) -> NewKey:
        """A second key for the same machine; the first is valid for *overlap* (or until its own end, if that is earlier).

        Raises `UsageError` if no valid key has this prefix.
        """
        return await carry_out(
            tx, store.rotate_key(self.q, prefix, overlap.total_seconds(), _seconds(lifetime))
        )

    def rotate_blocking(
        self,
        tx: BlockingTx,
        prefix: str,
        *,
        overlap: timedelta = _DAY,
        lifetime: timedelta | None = None,
    ) -> NewKey:
        """As `rotate`, from a thread."""
        plan = store.rotate_key(self.q, prefix, overlap.total_seconds(), _seconds(lifetime))
        return carry_out_blocking(tx, plan)

    async def revoke(self, tx: Tx, prefix: str) -> None:
        """The key is not valid once this commits. Raises `UsageError` if there is none with this prefix."""
        await carry_out(tx, store.revoke_key(self.q, prefix))

    def revoke_blocking(self, tx: BlockingTx, prefix: str) -> None:
        """As `revoke`, from a thread."""
        carry_out_blocking(tx, store.revoke_key(self.q, prefix))

    def _create(
        self,
        name: str,
        scopes: Sequence[str],
        owner: UUID | str | None,
        tenant: str | None,
        lifetime: timedelta | None,
    ) -> Plan[NewKey]:
        belongs_to = None if owner is None else as_uuid(owner)
        return store.add_key(self.q, name, belongs_to, tenant, scopes, _seconds(lifetime))


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()
