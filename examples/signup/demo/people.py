"""People who sign up, as honest clients do: they repeat what was not answered, with the same key."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from examples.signup.demo.board import Board

PATIENCE_S = 90.0
LOOK_S = 0.2
AGAIN_S = 0.5
GOOD_CARD = "pm_card_visa"
WAITS_FOR_A_PERSON = frozenset({"in_doubt", "attention"})
BAD_CARDS = {7: "pm_card_chargeDeclined", 22: "pm_card_chargeCustomerFail"}
PASSWORD = "correct horse battery"
Payout = Literal["arrives", "refused", "returned"]
PAYOUTS: Mapping[int, Payout] = {10: "arrives", 13: "refused"}
RETURNED = 16
"""The bank of this one sends the money back."""


@dataclass(frozen=True)
class Person:
    """Somebody; *clicks* is how often they press the button at once."""

    email: str
    name: str
    plan: str
    clicks: int
    card: str
    trial: bool
    regrets: bool
    """Takes the contract back as soon as it is made."""
    payout: Payout | None = None
    """Is given credit, and has it paid out: what becomes of the payment."""

    @property
    def refused(self) -> bool:
        """The bank will decline the card."""
        return self.card != GOOD_CARD

    @property
    def pays(self) -> bool:
        """Is charged at once."""
        return not self.trial and not self.refused

    @property
    def standing(self) -> str:
        """What becomes of the subscription."""
        if self.regrets:
            return "canceled"
        return "trialing" if self.trial else "active"


def crowd(size: int) -> list[Person]:
    """Every tenth is impatient, and clicks three times. One of three wants no trial, and pays at once.

    One of fifteen has a card that the bank declines: half of them when it is saved, half when it is charged. One of thirty
    pays, and wants the money back. Two of thirty are owed credit.
    """
    return [
        Person(
            email=f"person{number:04}@example.com",
            name=f"Person {number}",
            plan="pro" if number % 2 == 0 else "starter",
            clicks=3 if number % 10 == 0 else 1,
            card=BAD_CARDS.get(number % 30, GOOD_CARD),
            trial=number % 3 != 1,
            regrets=number % 30 == 4,
            payout="returned" if number == RETURNED else PAYOUTS.get(number % 30),
        )
        for number in range(1, size + 1)
    ]


async def sign_everybody_up(
    people: Sequence[Person], url: str, board: Board, *, concurrency: int
) -> None:
    """Everybody signs up, *concurrency* at a time. Raises `TimeoutError` if somebody waits too long."""
    turns = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=10, limits=limits) as http:

        async def take_turn(person: Person) -> None:
            async with turns:
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await sign_up(http, person, board)
                except TimeoutError:
                    raise TimeoutError(f"{person.email} waited {PATIENCE_S:.0f} s") from None

        async with asyncio.TaskGroup() as group:
            for person in people:
                group.create_task(take_turn(person))


async def sign_up(http: httpx.AsyncClient, person: Person, board: Board) -> None:
    """Click, and wait for the end."""
    clicks = [click(http, person, board) for _ in range(person.clicks)]
    operations = {operation_of(answer) for answer in await asyncio.gather(*clicks)}
    if len(operations) > 1:
        clicked = f"{person.email} clicked {person.clicks} times"
        board.quarrels.append(f"{clicked} and began {len(operations)} signups")
    url = operations.pop()
    board.signed_up[person.email] = url.rpartition("/")[2]
    board.ring()
    ended = await end_of(http, url, board)
    if person.regrets:
        await take_back(http, person, board)
    board.ended[ended] += 1
    board.ring()


async def click(http: httpx.AsyncClient, person: Person, board: Board) -> httpx.Response:
    """One press of the button, repeated until it is answered."""
    body: dict[str, Any] = {
        "email": person.email, "name": person.name, "plan": person.plan, "card": person.card, "trial": person.trial,
    }  # fmt: skip
    if person.regrets or person.payout:
        body["password"] = PASSWORD
    headers = {"idempotency-key": f"form-of-{person.email}"} if person.clicks > 1 else {}
    board.clicks += 1
    return await insist(http, "POST", "/v1/signups", board, json=body, headers=headers)


@dataclass(frozen=True)
class Asking:
    """What a request says of who asks, and the key of what is asked for."""

    headers: Mapping[str, str]
    key: str


async def log_in(http: httpx.AsyncClient, person: Person, board: Board) -> Asking:
    """As a page does it."""
    credentials = {"email": person.email, "password": PASSWORD}
    begun = await insist(http, "POST", "/v1/sessions", board, json=credentials)
    # A `__Host-` cookie needs TLS; here is none, so no client would send it by itself.
    cookie = begun.headers.get("set-cookie", "").partition(";")[0]
    return Asking({"cookie": cookie, "sec-fetch-site": "same-origin"}, f"wish-of-{person.email}")


async def ask(
    http: httpx.AsyncClient, url: str, by: Asking, board: Board, body: Any = None
) -> httpx.Response:
    """Ask for something, and with the same key again until it has ended."""
    headers = {**by.headers, "idempotency-key": by.key}
    while True:
        answer = await insist(http, "POST", url, board, json=body, headers=headers)
        if answer.status_code != httpx.codes.ACCEPTED:
            return answer
        await asyncio.sleep(LOOK_S)


async def take_back(http: httpx.AsyncClient, person: Person, board: Board) -> None:
    """Log in, and take the contract back."""
    by = await log_in(http, person, board)
    asked = await ask(http, "/v1/account/withdrawal", by, board)
    if not asked.is_success:
        board.quarrels.append(f"{person.email} got no money back: {asked.text}")


def operation_of(answer: httpx.Response) -> str:
    """Where one can ask what has become of it: said while it goes on, and with what has become of it."""
    url = answer.headers.get("location") or answer.headers.get("content-location")
    if url is None:
        answer.raise_for_status()
        raise ValueError(f"no operation: {answer.text}")
    return str(url)


async def end_of(http: httpx.AsyncClient, url: str, board: Board) -> str:
    """Look again and again, until the signup has ended or waits for a person."""
    while True:
        answer = await insist(http, "GET", url, board)
        if answer.status_code != httpx.codes.ACCEPTED:
            return "succeeded" if answer.is_success else "failed"
        if answer.json()["state"] in WAITS_FOR_A_PERSON:
            return "attention"
        await asyncio.sleep(LOOK_S)


async def insist(
    http: httpx.AsyncClient, method: str, url: str, board: Board, **request: Any
) -> httpx.Response:
    """The answer; no answer, "later" (5xx) and "it is still being worked on" (409 to a repetition) are asked again."""
    while True:
        try:
            answer = await http.request(method, url, **request)
            if not answer.is_server_error and "retry-after" not in refused(answer):
                return answer
        except httpx.TransportError:
            pass
        board.retries += 1
        await asyncio.sleep(AGAIN_S)


def refused(answer: httpx.Response) -> httpx.Headers:
    """The headers of a refusal (4xx)."""
    return answer.headers if answer.is_client_error else httpx.Headers()
