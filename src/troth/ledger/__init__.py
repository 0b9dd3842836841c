"""The ledger: money that is somewhere, moved by transfers whose two sides are equal, in books that nobody can change.

A call of `ledger_post` posts a batch in the caller's transaction. It *takes the ids* first: a transfer's id is its
idempotency key, and what first came of it, success or refusal, is final. It *decides* item after item, as if each were
posted before the next, with the locks that this needs: holds and what is reversed, and the balances of accounts that have a
limit. It *writes* what was decided in a few statements for all of it. Rows of transfers, refusals and entries never change.

An account without a limit is locked by nobody. Its legs are left in a *queue*, and workers *fold* them: rows are taken out
and become entries, numbered without a gap for each account, with the totals after each. A balance is the latest entry and
the queue, in one look. Many callers without rows of their own post through a `Poster`: one call, one commit, and entries at
once.

What is held (`Hold`) counts in limits until it is posted, voided, or its time is over. A closed period takes no effective
time; its totals are written down, and balances by effective time begin there.

`model` has the words, `rules` what is malformed and the arrays of a call, `post` the verbs, `accounts` accounts and
periods, `fold` what workers do, `group` the poster. What is decided is in the migrations 0015 to
0017 and 0021.
"""

from troth.ledger.accounts import Accounts, Period, Periods
from troth.ledger.clearing import Clearing, Overdue
from troth.ledger.model import (
    Account,
    AccountConflictError,
    AccountNotFoundError,
    Balance,
    ClosingError,
    Compound,
    Credit,
    Debit,
    Entry,
    Hold,
    InvalidTransferError,
    Item,
    LedgerError,
    Leg,
    Limit,
    Linked,
    Outcome,
    Posted,
    PostHold,
    Result,
    Reversal,
    Side,
    Total,
    Transfer,
    TransferRefused,
    VoidHold,
)
from troth.ledger.post import Ledger
from troth.ledger.rules import transfer_id

__all__ = [
    "Account",
    "AccountConflictError",
    "AccountNotFoundError",
    "Accounts",
    "Balance",
    "Clearing",
    "ClosingError",
    "Compound",
    "Credit",
    "Debit",
    "Entry",
    "Hold",
    "InvalidTransferError",
    "Item",
    "Ledger",
    "LedgerError",
    "Leg",
    "Limit",
    "Linked",
    "Outcome",
    "Overdue",
    "Period",
    "Periods",
    "PostHold",
    "Posted",
    "Result",
    "Reversal",
    "Side",
    "Total",
    "Transfer",
    "TransferRefused",
    "VoidHold",
    "transfer_id",
]
