"""Who may: people and machines, how they prove who they are, and policies that say what they may do.

The protocol, in the order of a request:

* **Who it is.** `authenticate` finds the principal of a session token or an API key by its hash, in one statement. `log_in`
  counts an attempt as failed and commits that *before* it verifies the password, so no number of parallel guesses is free,
  and no rollback forgets one. An unknown address costs the same hash as a known one.
* **Whose data it sees.** `tenants.act_as` names the tenant for the rest of the transaction; row-level security does the rest.
* **Who may.** `require` asks the policies (Cedar). The answer is yes only if a policy permits it, none forbids it, and none
  failed: Cedar skips a policy that fails, and a skipped `forbid` would let everybody through. An API key is held to its
  scopes before.
* **What is kept.** The answer is a row that commits with the act: what was asked, with what knowledge, which policies decided,
  and their text. A no is recorded although the act's transaction is rolled back (`recording_denials`).
"""

from troth.access.model import (
    AccessError,
    Because,
    Decision,
    Denied,
    EmailTakenError,
    Limit,
    LoggedIn,
    NewKey,
    NotAuthenticatedError,
    PasswordRefusedError,
    PolicyError,
    Principal,
    Ref,
    Resource,
    SessionRules,
    Throttle,
    TooManyAttemptsError,
    UnprotectedError,
    WrongCredentialsError,
)
from troth.access.passwords import HashedPassword, Passwords
from troth.access.program import Access
from troth.access.rules import forgotten_cookie, same_origin, session_cookie

__all__ = [
    "Access",
    "AccessError",
    "Because",
    "Decision",
    "Denied",
    "EmailTakenError",
    "HashedPassword",
    "Limit",
    "LoggedIn",
    "NewKey",
    "NotAuthenticatedError",
    "PasswordRefusedError",
    "Passwords",
    "PolicyError",
    "Principal",
    "Ref",
    "Resource",
    "SessionRules",
    "Throttle",
    "TooManyAttemptsError",
    "UnprotectedError",
    "WrongCredentialsError",
    "forgotten_cookie",
    "same_origin",
    "session_cookie",
]
