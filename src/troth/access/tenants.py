"""Tenants, isolated by row-level security: what a policy or a query forgets, PostgreSQL does not.

A protected table shows and takes only rows of the tenant that `as_tenant` named in this transaction, for its owner too
(FORCE). Without one it shows nothing. It does not hold for superusers and roles with BYPASSRLS, and not for TRUNCATE: the
role of the application must be none of that; `check` says so.
"""

from __future__ import annotations

from troth.access import store
from troth.access.model import Principal
from troth.access.people import Bound
from troth.base.errors import UsageError
from troth.store.plan import carry_out, carry_out_blocking
from troth.store.tx import BlockingTx, Tx


class Tenants(Bound):
    """The tenants of a program: `access.tenants`."""

    async def act_as(self, tx: Tx, tenant: str | Principal, *, role: str | None = None) -> None:
        """Until *tx* ends, its statements see and write only rows of this tenant. *role*: and act as that role.

        One statement. Raises `UsageError` for a principal without a tenant.
        """
        await carry_out(tx, store.as_tenant(self.q, tenant_of(tenant), role))

    def act_as_blocking(
        self, tx: BlockingTx, tenant: str | Principal, *, role: str | None = None
    ) -> None:
        """As `act_as`, from a thread."""
        carry_out_blocking(tx, store.as_tenant(self.q, tenant_of(tenant), role))

    async def protect(self, tx: Tx, table: str, *, column: str = "tenant") -> str:
        """Isolate tenants in a table, by its owner; again changes nothing. Returns the SQL that was carried out."""
        return await carry_out(tx, store.protect(self.q, table, column, apply=True))

    def protect_blocking(self, tx: BlockingTx, table: str, *, column: str = "tenant") -> str:
        """As `protect`, from a thread."""
        return carry_out_blocking(tx, store.protect(self.q, table, column, apply=True))

    async def protection(self, tx: Tx, table: str, *, column: str = "tenant") -> str:
        """The SQL of `protect`, for a migration of your own. Changes nothing."""
        return await carry_out(tx, store.protect(self.q, table, column, apply=False))

    async def check(
        self, tx: Tx, schema: str, *, column: str = "tenant", role: str | None = None
    ) -> None:
        """Raise `UnprotectedError` if a table of *schema* with such a column is not protected, or *role* sees through.

        *role* None: the present one. Call it when the program starts.
        """
        await carry_out(tx, store.check_tenants(self.q, schema, column, role))

    def check_blocking(
        self, tx: BlockingTx, schema: str, *, column: str = "tenant", role: str | None = None
    ) -> None:
        """As `check`, from a thread."""
        carry_out_blocking(tx, store.check_tenants(self.q, schema, column, role))


def tenant_of(tenant: str | Principal) -> str:
    """The tenant itself. Raises `UsageError`."""
    if isinstance(tenant, str):
        return tenant
    if tenant.tenant is None:
        msg = f"{tenant.ref} belongs to no tenant"
        raise UsageError(msg)
    return tenant.tenant
