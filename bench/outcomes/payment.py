"""The program that every system runs: charge a card once. Here are the call itself and the places where it is disturbed.

A process is told what to do by one environment variable, and says what became of the charge in one line of JSON.
It stops where it is to be disturbed: it sends SIGSTOP to itself, so that the place is exact.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

JOB = "OUTCOMES_JOB"

ANSWER_WITHIN_S = 1.0  # the client's patience with the provider (which speaks plain HTTP: no certificates to load)
CALL_WITHIN_S = 5.0  # for systems that limit the time of the whole call
LANDS_LATE_S = 3.0  # a slow provider does it this long after the request came
LANDS_WITHIN_S = 5.0  # what it promises about that: a request is done by then, or never
LEASE_S = 5.0  # for systems that have one: the default of troth; a minute and more for others would only be slow
LONG_LEASE_S = 24 * 60 * 60.0
KEY_LIVES_S = 24 * 60 * 60.0
SHORT_KEY_LIVES_S = 61.0  # where we have to see the end of it


@dataclass(frozen=True)
class Job:
    """One process's part: which order to charge, how, and where everything is."""

    database: str
    provider: str
    directory: str
    order: str
    variant: str
    key_lives_s: float  # how long the provider's documentation promises to recognise a key

    @classmethod
    def received(cls) -> Job:
        """From the environment."""
        return cls(**json.loads(os.environ[JOB]))


class MayHaveCharged(Exception):
    """The provider was reached, and no answer says that nothing was done."""


def may_have_charged(error: BaseException) -> bool:
    """What a careful author knows: a refused connection and a 429 have charged nothing."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code != httpx.codes.TOO_MANY_REQUESTS
    return not isinstance(error, httpx.ConnectError)


def not_charged(error: BaseException) -> bool:
    """The opposite: it may be tried again."""
    return not may_have_charged(error)


# -- the call: the same twice, for code that awaits and for code that blocks ---------------------------------------------


async def charge(order: str, key: str | None = None) -> str:
    """Charge 20 euros for an order; the id of the payment. Raises what httpx raises."""
    job = Job.received()
    reach("sending")
    async with httpx.AsyncClient(timeout=ANSWER_WITHIN_S, verify=False) as client:
        with _refusal_noticed():
            answer = await client.post(job.provider + PATH, **_request(order, key))
    return _paid(answer)


def charge_blocking(order: str, key: str | None = None) -> str:
    """The same, for systems whose documentation shows `def`."""
    job = Job.received()
    reach("sending")
    with _refusal_noticed():
        answer = httpx.post(
            job.provider + PATH, timeout=ANSWER_WITHIN_S, verify=False, **_request(order, key)
        )
    return _paid(answer)


async def find(order: str) -> str | None:
    """The payment of an order, by its metadata, if there is one."""
    job = Job.received()
    async with httpx.AsyncClient(timeout=ANSWER_WITHIN_S, verify=False) as client:
        with _refusal_noticed():
            answer = await client.get(
                f"{job.provider}{PATH}/search",
                params={"query": f"metadata['order']:'{order}'"},
                headers=_AUTHORIZATION,
            )
    answer.raise_for_status()
    found = answer.json()["data"]
    return str(found[0]["id"]) if found else None


PATH = "/v1/payment_intents"
_AUTHORIZATION = {"authorization": "Bearer sk_test_outcomes"}


def _request(order: str, key: str | None) -> dict[str, Any]:
    return {
        "headers": _AUTHORIZATION | ({"idempotency-key": key} if key else {}),
        "data": {
            "amount": "2000",
            "currency": "eur",
            "confirm": "true",
            "payment_method": "pm_card_visa",
            "metadata[order]": order,
        },
    }


def _paid(answer: httpx.Response) -> str:
    answer.raise_for_status()
    reach("charged")
    return str(answer.json()["id"])


@contextlib.contextmanager
def _refusal_noticed() -> Any:
    try:
        yield
    except httpx.ConnectError:
        reach("refused")
        raise


# -- where the process is disturbed --------------------------------------------------------------------------------------


def arm(directory: Path, point: str) -> None:
    """The next process that reaches this point stops there, once."""
    (directory / f"stop-{point}").touch()


def disarm(directory: Path) -> None:
    """Nobody stops any more."""
    for armed in directory.glob("stop-*"):
        armed.unlink()


def reach(point: str) -> None:
    """Stop here, if the point is armed."""
    with contextlib.suppress(FileNotFoundError):
        Path(Job.received().directory, f"stop-{point}").unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


# -- what the process says -----------------------------------------------------------------------------------------------


def say(says: str, why: object = "", *, flagged: bool = False) -> None:
    """One line for whoever started this process: what the system says became of the charge.

    *says*: what is recorded (succeeded, failed, in doubt, in progress), or `exception`: only that reached the caller.
    *flagged*: the system asked for a reconciliation.
    """
    reason = f"{type(why).__name__}: {why}" if isinstance(why, BaseException) else str(why)
    sys.stdout.write(json.dumps({"says": says, "why": reason, "flagged": flagged}) + "\n")
    sys.stdout.flush()
