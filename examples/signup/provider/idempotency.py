"""What to do with a request that carries an Idempotency-Key, by the rules of Stripe's v1 API.

The first answer is saved once the endpoint began to execute, whatever it was, and every later request
with that key gets it again, for 24 hours. Requests that never began to execute leave no trace:
invalid parameters, 401, 429, and conflicts with a request under way.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from examples.signup.provider.errors import ApiError
from examples.signup.provider.form import Tree

LIFETIME = 24 * 60 * 60
"""Seconds after which a key may be forgotten, and here is."""

LONGEST = 255
"""Characters in a key."""


@dataclass(frozen=True)
class Claim:
    """One request's use of a key. Keys belong to an API key."""

    api_key: str
    key: str
    endpoint: str
    fingerprint: str


@dataclass(frozen=True)
class Saved:
    """The answer that belongs to a key, and the request that first used it."""

    endpoint: str
    fingerprint: str
    status: int
    body: bytes
    request_id: str
    created: int


def fingerprint(path: str, tree: Mapping[str, Tree]) -> str:
    """Equal for equal parameters, in whatever order they came."""
    parameters = json.dumps(tree, sort_keys=True)
    return hashlib.sha256(f"{path}\n{parameters}".encode()).hexdigest()


def alive(saved: Saved | None, now: int) -> Saved | None:
    """The saved answer, unless the key's lifetime has passed."""
    return saved if saved is not None and now < saved.created + LIFETIME else None


def refusal(claim: Claim, saved: Saved | None, *, under_way: bool) -> ApiError | None:
    """Why this use of the key is an error, if it is. `saved` is alive or None."""
    key = claim.key
    if len(key) > LONGEST:
        return ApiError(
            400,
            f"Idempotency key is too long; it has {len(key)} characters, at most {LONGEST} are "
            "allowed.",
            kind="idempotency_error",
        )
    if under_way:
        return ApiError(
            409,
            "There is currently another in-progress request using this Idempotent Key (that "
            "probably means you submitted twice, and the other request is still going through): "
            f"{key}. Please try again later.",
            code="idempotency_key_in_use",
        )
    if saved is not None and saved.endpoint != claim.endpoint:
        return ApiError(
            400,
            "Keys for idempotent requests can only be used for the same endpoint they were first "
            f"used for ('{claim.endpoint}' vs '{saved.endpoint}'). Try using a key other than "
            f"'{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
    if saved is not None and saved.fingerprint != claim.fingerprint:
        return ApiError(
            400,
            "Keys for idempotent requests can only be used with the same parameters they were "
            f"first used with. Try using a key other than '{key}' if you meant to execute a "
            "different request.",
            kind="idempotency_error",
        )
    return None
