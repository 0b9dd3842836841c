"""
The program whose effects meet the faults: `python -m tests.matrix.program` executes runs until it is told to stop.

Each declaration has one workflow for each column, with one effect. An effect may be chosen to die: it waits, just before
or just after its call, until all that are to die are there, and the last one sends SIGKILL to its own process. So the
place is exact, and nobody has to hit it by time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import smtplib
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import msgspec
import stripe
from stripe import RequestOptions, StripeClient

from tests.matrix.declarations import ALL, Declaration
from troth import Call, Found, Missing, Provider, Retry, Troth
from troth.worker.node import NodeOptions
from troth.workflow.definition import Workflow

SETTINGS = "TROTH_TEST_MATRIX"
KEY_LIFETIME = timedelta(hours=24)
RETRY = Retry(attempts=8, first=timedelta(milliseconds=200), longest=timedelta(seconds=1))
ASK_AGAIN = Retry(attempts=60, first=timedelta(milliseconds=200), longest=timedelta(seconds=1))


class Ways(msgspec.Struct, frozen=True):
    """The ports of an edge: always open, and closed at first."""

    port: int
    door: int


class Settings(msgspec.Struct, frozen=True):
    """What a test tells a process, as JSON in one environment variable. Times in seconds."""

    url: str
    schema: str
    declarations: list[str]
    edges: dict[str, Ways]  # by outside
    timeout_s: float
    lands_within_s: float
    dying: int = 0  # effects that are to be there when this process kills itself


class Job(msgspec.Struct, frozen=True):
    """What one effect is to do. *mark* is in everything that it makes outside; *about*: what that hangs on."""

    mark: str
    door: bool = False
    dies: str = ""  # "before" or "after" its call, if effects are to die in this process
    about: dict[str, str] = {}


class End:
    """Where effects gather that are to be killed in the middle."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._arrived: set[str] = set()
        self._lock = threading.Lock()

    def reach(self, job: Job, place: str) -> bool:
        """Is the caller to die here? The last one ends the process."""
        if not self._expected or job.dies != place:
            return False
        with self._lock:
            self._arrived.add(job.mark)
            if len(self._arrived) == self._expected:
                os.kill(os.getpid(), signal.SIGKILL)
        return True


# What is asked of the outside -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resource:
    """One column: how such an object is made, and where those are listed among which it would be."""

    make: Callable[[StripeClient, Any, RequestOptions], Awaitable[Any]]
    list: Callable[[StripeClient, Any, RequestOptions], Awaitable[Any]]
    params: Callable[[Mapping[str, str]], dict[str, Any]]
    among: Callable[[Mapping[str, str]], dict[str, Any]] = lambda about: {}


RESOURCES = {
    "customer": Resource(
        make=lambda client, params, options: client.v1.customers.create_async(params, options),
        list=lambda client, params, options: client.v1.customers.list_async(params, options),
        params=lambda about: {"email": "ada@example.com"},
    ),
    "subscription": Resource(
        make=lambda client, params, options: client.v1.subscriptions.create_async(params, options),
        list=lambda client, params, options: client.v1.subscriptions.list_async(params, options),
        params=lambda about: {
            "customer": about["customer"],
            "items": [{about["item"]: about["price"]}],
        },
        among=lambda about: {"customer": about["customer"], "status": "all"},
    ),
    "payment intent": Resource(
        make=lambda client, params, options: client.v1.payment_intents.create_async(
            params, options
        ),
        list=lambda client, params, options: client.v1.payment_intents.list_async(params, options),
        params=lambda about: {"amount": 1500, "currency": "eur"},
    ),
    "refund": Resource(
        make=lambda client, params, options: client.v1.refunds.create_async(params, options),
        list=lambda client, params, options: client.v1.refunds.list_async(params, options),
        params=lambda about: {"payment_intent": about["payment_intent"], "amount": 100},
        among=lambda about: {"payment_intent": about["payment_intent"]},
    ),
}


def client_of(port: int, transport: stripe.HTTPXClient, *, retries: bool) -> StripeClient:
    """The official SDK. Its functions retry by default, a client only when it is told to."""
    return StripeClient(
        "sk_test_matrix",
        base_addresses={"api": f"http://127.0.0.1:{port}"},
        http_client=transport,
        max_network_retries=stripe.max_network_retries if retries else 0,
    )


# The workflows --------------------------------------------------------------------------------------------------------


def build(settings: Settings) -> Troth:
    """The program, for one database and schema. Opens nothing."""
    troth = Troth(settings.url, schema=settings.schema)
    end = End(settings.dying)
    transport = stripe.HTTPXClient(timeout=4 * settings.timeout_s)
    for name in settings.declarations:
        declared = ALL[name]
        for column in declared.columns:
            if declared.outside == "mailbox":
                effect = mail_effect(troth, settings, declared, end)
            else:
                effect = api_effect(troth, settings, declared, column, end, transport)
            define(troth, declared.workflow(column), effect)
    return troth


def define(troth: Troth, name: str, effect: Callable[[Job], Awaitable[str]]) -> None:
    @troth.workflow(name=name)
    async def one_effect(job: Job) -> str:
        return await effect(job)


def workflow(troth: Troth, declared: Declaration, column: str) -> Workflow[[Job], str]:
    return troth.workflows[declared.workflow(column)]


def api_effect(
    troth: Troth,
    settings: Settings,
    declared: Declaration,
    column: str,
    end: End,
    transport: stripe.HTTPXClient,
) -> Callable[[Job], Awaitable[str]]:
    """Make an object of the column's type through the SDK."""
    resource = RESOURCES[column]
    ways = settings.edges[declared.outside]
    clients = {
        door: client_of(port, transport, retries=declared.sdk_retries)
        for door, port in ((False, ways.port), (True, ways.door))
    }

    @troth.effect(
        name=declared.workflow(column),
        timeout=settings.timeout_s,
        retry=RETRY,
        **rules(declared, settings),
    )
    async def make(call: Call, job: Job) -> str:
        if end.reach(job, "before"):
            await asyncio.Event().wait()
        made = await resource.make(
            clients[job.door],
            {**resource.params(job.about), "metadata": {"mark": job.mark}},
            {"idempotency_key": key(declared, call), "headers": {"Matrix-Mark": job.mark}},
        )
        if end.reach(job, "after"):
            await asyncio.Event().wait()
        return str(made.id)

    if declared.says == "probed":

        @make.probe(timeout=settings.timeout_s, retry=ASK_AGAIN)
        async def find(call: Call, job: Job) -> Found[str] | Missing:
            listed = await resource.list(
                clients[job.door],
                {**resource.among(job.about), "limit": 100},
                {"headers": {"Matrix-Mark": job.mark}},
            )
            async for one in listed.auto_paging_iter():
                if (one.to_dict().get("metadata") or {}).get("mark") == job.mark:
                    return Found(str(one.id))
            return Missing()

    return make


def mail_effect(
    troth: Troth, settings: Settings, declared: Declaration, end: End
) -> Callable[[Job], Awaitable[str]]:
    """Send a mail by the standard library; the body runs in a thread."""
    ways = settings.edges[declared.outside]

    @troth.effect(
        name=declared.workflow("mail"),
        timeout=settings.timeout_s,
        retry=RETRY,
        **rules(declared, settings),
    )
    def send(call: Call, job: Job) -> str:
        if end.reach(job, "before"):
            threading.Event().wait()
        message = compose(job, key(declared, call))
        with smtplib.SMTP(
            "127.0.0.1", ways.door if job.door else ways.port, timeout=4 * settings.timeout_s
        ) as server:
            server.send_message(message)
        if end.reach(job, "after"):
            threading.Event().wait()
        return str(message["Message-ID"])

    return send


def compose(job: Job, sent_under: str) -> EmailMessage:
    """The same key makes the same Message-ID."""
    message = EmailMessage()
    message["From"] = "hello@matrix.example"
    message["To"] = f"{job.mark}@matrix.example"
    message["Subject"] = "Welcome"
    digest = hashlib.sha256(sent_under.encode()).hexdigest()[:40]
    message["Message-ID"] = f"<{digest}@matrix.example>"
    message.set_content("Welcome.\n")
    return message


def rules(declared: Declaration, settings: Settings) -> dict[str, Any]:
    """What the author tells troth of the other side."""
    match declared.says:
        case "keyed":
            return {"provider": Provider(declared.outside, key_lifetime=KEY_LIFETIME)}
        case "probed":
            lands_within = timedelta(seconds=settings.lands_within_s)
            return {"provider": Provider(declared.outside, lands_within=lands_within)}
        case "blind":
            return {"delivery": "at_least_once"}
        case delivery:
            return {"delivery": delivery}


def key(declared: Declaration, call: Call) -> str:
    """What is declared without a key lifetime gets keys that no two attempts share: the provider must not help."""
    return uuid.uuid4().hex if declared.says in {"blind", "probed"} else call.key


# The worker -----------------------------------------------------------------------------------------------------------


async def work(settings: Settings) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with build(settings).worker(NodeOptions(lease_s=2.0)):
        await stopping.wait()


def main() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(work(msgspec.json.decode(os.environ[SETTINGS], type=Settings)))


if __name__ == "__main__":
    main()
