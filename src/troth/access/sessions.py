"""Sessions: random tokens of which only the hash is kept. A token is always made here, so nobody can fix one beforehand."""

from __future__ import annotations

from uuid import UUID

from troth.access import store
from troth.access.model import LoggedIn, SessionRules
from troth.access.people import Bound, as_uuid
from troth.store.plan import carry_out, carry_out_blocking
from troth.store.tx import BlockingTx, Tx


class Sessions(Bound):
    """The sessions of a program: `access.sessions`."""

    def __init__(self, rules: SessionRules) -> None:
        super().__init__()
        self.rules = rules

    async def start(self, tx: Tx, person: UUID | str, *, client: str | None = None) -> LoggedIn:
        """A session for somebody whom the caller has recognised otherwise: by a mailed link, by single sign-on.

        Raises `NotAuthenticatedError` if the person is unknown or disabled.
        """
        return await carry_out(tx, store.start_session(self.q, self.rules, as_uuid(person), client))

    def start_blocking(
        self, tx: BlockingTx, person: UUID | str, *, client: str | None = None
    ) -> LoggedIn:
        """As `start`, from a thread."""
        plan = store.start_session(self.q, self.rules, as_uuid(person), client)
        return carry_out_blocking(tx, plan)

    async def renew(self, tx: Tx, token: str) -> str:
        """Another token for the same session, when it begins to be worth more; the old one is not valid any more.

        Raises `NotAuthenticatedError`.
        """
        return await carry_out(tx, store.renew_session(self.q, token))

    def renew_blocking(self, tx: BlockingTx, token: str) -> str:
        """As `renew`, from a thread."""
        return carry_out_blocking(tx, store.renew_session(self.q, token))

    async def end(self, tx: Tx, which: str | UUID) -> bool:
        """Log out: end the session of a token (str) or id (UUID). Whether there was one."""
        return await carry_out(tx, store.end_session(self.q, which))

    def end_blocking(self, tx: BlockingTx, which: str | UUID) -> bool:
        """As `end`, from a thread."""
        return carry_out_blocking(tx, store.end_session(self.q, which))

    async def end_all(self, tx: Tx, person: UUID | str) -> int:
        """Log out everywhere. How many sessions there were."""
        return await carry_out(tx, store.end_sessions(self.q, as_uuid(person)))

    def end_all_blocking(self, tx: BlockingTx, person: UUID | str) -> int:
        """As `end_all`, from a thread."""
        return carry_out_blocking(tx, store.end_sessions(self.q, as_uuid(person)))
