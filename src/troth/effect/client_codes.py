"""What the codes in an answer mean: HTTP statuses, SMTP replies, SQLSTATEs, error codes of AWS. Data.

A code of the other side is its word on the request that it answers, and on no other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from troth.effect.model import Outcome

_UNKNOWN, _REFUSED, _NOT_DONE = Outcome.UNKNOWN, Outcome.REFUSED, Outcome.NOT_DONE


@dataclasses.dataclass(frozen=True, slots=True)
class Code:
    """What a code says of the effect, and why."""

    says: Outcome
    because: str


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────

STATUSES: Mapping[int, Code] = {
    307: Code(_NOT_DONE, "it is to be done at another address"),
    308: Code(_NOT_DONE, "it is to be done at another address"),
    400: Code(_REFUSED, "bad request"),
    401: Code(_NOT_DONE, "our credentials were not accepted"),
    402: Code(_REFUSED, "payment required; declined"),
    403: Code(_REFUSED, "forbidden"),
    404: Code(_REFUSED, "not found"),
    405: Code(_REFUSED, "method not allowed"),
    406: Code(_REFUSED, "not acceptable"),
    407: Code(_NOT_DONE, "the proxy did not accept our credentials"),
    408: Code(_UNKNOWN, "gateways say it of requests that they had passed on"),
    409: Code(_UNKNOWN, "the same request may be under way, or be done"),
    410: Code(_REFUSED, "gone"),
    411: Code(_REFUSED, "length required"),
    412: Code(_REFUSED, "precondition failed"),
    413: Code(_REFUSED, "content too large"),
    414: Code(_REFUSED, "address too long"),
    415: Code(_REFUSED, "unsupported media type"),
    416: Code(_REFUSED, "range not satisfiable"),
    417: Code(_REFUSED, "expectation failed"),
    421: Code(_REFUSED, "misdirected request"),
    422: Code(_REFUSED, "unprocessable content"),
    423: Code(_REFUSED, "locked"),
    424: Code(_REFUSED, "failed dependency"),
    425: Code(_NOT_DONE, "too early"),
    426: Code(_REFUSED, "upgrade required"),
    428: Code(_REFUSED, "precondition required"),
    429: Code(_NOT_DONE, "too many requests"),
    431: Code(_REFUSED, "header fields too large"),
    451: Code(_REFUSED, "unavailable for legal reasons"),
}

# By the hundreds, for those that are not listed.
STATUS_CLASSES: Mapping[int, Code] = {
    2: Code(_UNKNOWN, "it was taken; what the answer says could not be read"),
    3: Code(_UNKNOWN, "also the answer to a form that was accepted"),
    4: Code(
        _UNKNOWN, "no meaning is agreed; some proxies say it of requests that they had passed on"
    ),
    5: Code(_UNKNOWN, "it may have been done before the server broke (503 too)"),
}

_NO_STATUS = Code(_UNKNOWN, "not a status of an answer")


def of_status(status: int) -> Code:
    """What an HTTP status says."""
    return STATUSES.get(status) or STATUS_CLASSES.get(status // 100, _NO_STATUS)


# ── AWS: they come with status 400, 403, 500 or 503 ─────────────────────────────────────────────

_THROTTLED = Code(_NOT_DONE, "too many requests")
_UNSIGNED = Code(_NOT_DONE, "our credentials were not accepted")

AWS_CODES: Mapping[str, Code] = {
    "Throttling": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "ThrottledException": _THROTTLED,
    "RequestThrottled": _THROTTLED,
    "RequestThrottledException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "ProvisionedThroughputExceededException": _THROTTLED,
    "BandwidthLimitExceeded": _THROTTLED,
    "EC2ThrottledException": _THROTTLED,
    "SlowDown": _THROTTLED,
    "ExpiredToken": _UNSIGNED,
    "ExpiredTokenException": _UNSIGNED,
    "InvalidAccessKeyId": _UNSIGNED,
    "InvalidClientTokenId": _UNSIGNED,
    "UnrecognizedClientException": _UNSIGNED,
    "SignatureDoesNotMatch": _UNSIGNED,
    "RequestTimeTooSkewed": Code(_NOT_DONE, "our clock is wrong"),
    "RequestTimeout": Code(_UNKNOWN, "like status 408, but with status 400"),
    "TransactionInProgressException": Code(_UNKNOWN, "the same request is under way"),
    "PriorRequestNotComplete": Code(_UNKNOWN, "the same request is under way"),
    "OperationAborted": Code(_UNKNOWN, "a conflicting request is under way"),
}

# ── SMTP: by what was replied to, and the first digit of the reply ──────────────────────────────

BEFORE_MESSAGE, AFTER_MESSAGE = "a command before the message", "the message"

REPLIES: Mapping[tuple[str, int], Code] = {
    (BEFORE_MESSAGE, 4): Code(_NOT_DONE, "not now"),
    (BEFORE_MESSAGE, 5): Code(_REFUSED, "no"),
    (AFTER_MESSAGE, 4): Code(_UNKNOWN, "servers that queued the message and then broke say it too"),
    (AFTER_MESSAGE, 5): Code(_REFUSED, "no"),
}

OTHER_REPLIES: Mapping[str, Code] = {
    BEFORE_MESSAGE: Code(_NOT_DONE, "not SMTP, but the message was not sent"),
    AFTER_MESSAGE: Code(_UNKNOWN, "not SMTP, and the message was sent"),
}


def of_reply(to: str, replies: list[int]) -> Code:
    """What the replies to a command say; one of several that says "not now" leaves hope."""
    codes = [REPLIES.get((to, reply // 100), OTHER_REPLIES[to]) for reply in replies]
    refused = all(code.says is _REFUSED for code in codes)
    hopes = (code for code in codes if code.says is not _REFUSED)
    return codes[0] if refused and codes else next(hopes, OTHER_REPLIES[to])


# ── SQLSTATE: the longest prefix counts ─────────────────────────────────────────────────────────

_ABORTED = Code(_NOT_DONE, "the transaction was aborted; it may be tried again")

SQLSTATES: Mapping[str, Code] = {
    "08": Code(_UNKNOWN, "connection exception"),
    "08001": Code(_NOT_DONE, "no connection"),
    "08004": Code(_NOT_DONE, "the server rejected the connection"),
    "0A": Code(_REFUSED, "not supported"),
    "21": Code(_REFUSED, "cardinality violation"),
    "22": Code(_REFUSED, "data exception"),
    "23": Code(_REFUSED, "constraint violation"),
    "25": Code(_NOT_DONE, "not in this state of the transaction (a standby, a failed block)"),
    "28": Code(_NOT_DONE, "our credentials were not accepted"),
    "3D": Code(_NOT_DONE, "no such database"),
    "40": _ABORTED,
    "40001": Code(_NOT_DONE, "serialization failure"),
    "40002": Code(_REFUSED, "constraint violation"),
    "40003": Code(_UNKNOWN, "statement completion unknown"),
    "40P01": Code(_NOT_DONE, "deadlock"),
    "42": Code(_REFUSED, "the statement is wrong, or not allowed"),
    "44": Code(_REFUSED, "violates a check option"),
    "53": Code(_NOT_DONE, "insufficient resources"),
    "54": Code(_REFUSED, "a limit of the server is exceeded"),
    "55": Code(_NOT_DONE, "locked, or not in the state that it needs"),
    "57": Code(_UNKNOWN, "the session was ended, perhaps during COMMIT"),
    "57014": Code(_NOT_DONE, "the statement was cancelled"),
    "57P03": Code(_NOT_DONE, "the server is starting or stopping"),
    "P0": Code(_REFUSED, "raised by a function"),
}

_NO_SQLSTATE = Code(_UNKNOWN, "the server broke, or nothing is known of this SQLSTATE")


def of_sqlstate(sqlstate: str) -> Code:
    """What a SQLSTATE says."""
    for length in range(len(sqlstate), 1, -1):
        if code := SQLSTATES.get(sqlstate[:length]):
            return code
    return _NO_SQLSTATE
