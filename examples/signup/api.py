"""The API: JSON in, JSON out, idempotent by `Idempotency-Key`, errors as problem+json."""

from dataclasses import asdict
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from examples.signup.books import CURRENCY
from examples.signup.core import troth
from examples.signup.credit import grant_credit, pay_out_credit
from examples.signup.edge import (
    COOKIE,
    client_of,
    keep_password,
    login_id,
    principal_of,
    require_own_page,
    transaction,
)
from examples.signup.people import WEB, AccountPage, access, account_page, act_for
from examples.signup.plans import (
    cancel_subscription,
    change_plan,
    close_account,
    replace_card,
    withdraw,
)
from examples.signup.progress import Progress, progress_of
from examples.signup.workflow import EmailTaken, signup
from troth import Money, Requests, Tx
from troth.access import EmailTakenError, Principal, forgotten_cookie, session_cookie
from troth.integrations.fastapi import Command, command, idempotent

ADDRESS = r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f]+$"
WAIT_S = 2.0  # for an operation, before its caller is told where to ask again
SESSION_S = 14 * 24 * 3600


class Problem(BaseModel):
    """An error (RFC 9457): `code` is for programs, `detail` for people. Some have more to say."""

    type: str
    title: str
    status: int
    detail: str
    code: str


PROBLEM = {"application/problem+json": {"schema": Problem.model_json_schema()}}
api = APIRouter(
    prefix="/v1",
    responses={
        "4XX": {"description": "What was wrong with the request", "content": PROBLEM},
        503: {"description": "Nothing was done, or nobody knows: repeat it", "content": PROBLEM},
    },
)
requests = troth.include(
    Requests("api", required=False, failures={EmailTaken: 409, EmailTakenError: 409})
)


def printable(text: str) -> str:
    """The name goes into the subject of a mail, where a line break would begin another header."""
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


def encodable(text: str) -> str:
    """What PostgreSQL can hold: no NUL, no lone surrogates."""
    if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("must not contain NUL or surrogates")
    return text


def payable(text: str) -> str:
    """More than nothing."""
    if not Money.parse(text, CURRENCY):
        raise ValueError("must be more than 0")
    return text


def valid_iban(text: str) -> str:
    """Without spaces. The check digits (ISO 13616) find most mistakes of typing."""
    iban = text.replace(" ", "").upper()
    if int("".join(str(int(each, 36)) for each in iban[4:] + iban[:4])) % 97 != 1:
        raise ValueError("is not an IBAN: its check digits do not fit, so a digit may be wrong")
    return iban


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=254, pattern=ADDRESS),
    AfterValidator(printable),
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(printable),
]
Card = Annotated[str, Field(max_length=100, pattern=r"^pm_[A-Za-z0-9_]+$")]
Password = Annotated[str, Field(min_length=10, max_length=200), AfterValidator(encodable)]
Plan = Literal["starter", "pro"]
Amount = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[0-9]{1,6}(\.[0-9]{2})?$"),
    AfterValidator(payable),
]
Iban = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z]{2}[0-9]{2}[A-Za-z0-9 ]{11,38}$"),
    AfterValidator(valid_iban),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignupRequest(Body):
    email: Email
    name: Name
    plan: Plan
    card: Card = "pm_card_visa"
    trial: bool = True
    password: Password | None = None


class LoginRequest(Body):
    email: Annotated[str, Field(max_length=254), AfterValidator(encodable)]
    password: Annotated[str, Field(max_length=200), AfterValidator(encodable)]


class PlanRequest(Body):
    plan: Plan


class CardRequest(Body):
    card: Card


class CreditRequest(Body):
    """`amount` is in EUR: "5.00"."""

    amount: Amount


class PayoutRequest(Body):
    """`amount` is in EUR, and at most the credit; `iban`: where it goes."""

    amount: Amount
    iban: Iban


class Operation(BaseModel):
    """Something that goes on: ask again at `url`."""

    id: UUID
    state: Literal["running", "undoing", "in_doubt", "attention"]
    url: str


class AccountView(BaseModel):
    """`subscription` is a state: incomplete, trialing, active, past_due, unpaid, canceled. `credit`: in EUR."""

    id: UUID
    email: str
    name: str
    plan: str
    seats: int
    subscription: str
    closed: bool
    credit: str


LATER: dict[int | str, dict[str, Any]] = {202: {"model": Operation}}
Doing = Annotated[Command, Depends(command)]


# Signing up ---------------------------------------------------------------------------------------


@api.post("/signups", status_code=200, responses=LATER)
async def start_signup(body: SignupRequest, doing: Doing) -> Any:
    """Start a signup; the same key, or without one the same address, is the same signup."""
    key = f"key:{doing.principal}:{doing.key}" if doing.key else f"email:{body.email}"
    login = None
    if body.password is not None:
        login = login_id(key)
        hashed = await access.people.passwords.hash(body.password)
        await keep_password(doing.tx, login, hashed)
    person = (body.email, body.name, body.plan, body.card, body.trial, login)
    run = await doing.start(signup, *person, key=key)
    return doing.operation(run)


@api.get("/signups/{signup_id}")
async def show_signup(signup_id: UUID, request: Request) -> Progress:
    """How far it has come. 404 if there is no such signup."""
    async with transaction(request) as tx:
        found = await progress_of(tx, signup_id)
    if found is None:
        raise HTTPException(404, f"There is no signup {signup_id}.")
    return found


# Coming and going ---------------------------------------------------------------------------------


@api.post("/sessions", status_code=204)
@idempotent(exempt=True)
async def log_in(body: LoginRequest, request: Request) -> Response:
    """Begin a session: a cookie. 401 for a wrong address or password, 429 after too many of them."""
    if {"origin", "sec-fetch-site"} & set(request.headers):  # a browser, so it shows our own page
        require_own_page(request)
    begun = await access.log_in(
        request.app.state.pool.connection,
        body.email,
        body.password,
        client=client_of(request),
        replaces=request.cookies.get(COOKIE),
    )
    return Response(status_code=204, headers={"set-cookie": session_cookie(begun.token, SESSION_S)})


@api.delete("/sessions", status_code=204)
@idempotent(exempt=True)
async def log_out(request: Request) -> Response:
    """End the session of the cookie, if there is one."""
    token = request.cookies.get(COOKIE)
    if token:
        require_own_page(request)
        async with transaction(request) as tx:
            await access.sessions.end(tx, token)
    return Response(status_code=204, headers={"set-cookie": forgotten_cookie()})


# The account --------------------------------------------------------------------------------------


async def may(tx: Tx, request: Request, action: str) -> tuple[Principal, AccountPage]:
    """Whoever asks, and their account, if they may do this to it. Recorded in *tx*, with what is done."""
    principal = await principal_of(tx, request)
    account = await act_for(tx, principal)
    await access.require(tx, principal, action, account.resource)
    return principal, account


async def may_now(doing: Command, request: Request, action: str) -> AccountPage:
    """As `may`, for what a command is about to do: the decision travels with its COMMIT."""
    principal = await principal_of(doing.tx, request)
    account = await act_for(doing.tx, principal)
    await access.require(doing.tx, principal, action, account.resource, at_commit=doing.at_commit)
    return account


@api.get("/account")
async def show_account(request: Request) -> AccountView:
    """One's own."""
    async with transaction(request) as tx:
        _, account = await may(tx, request, "Account::read")
    return AccountView(**asdict(account))


@api.get("/accounts/{account_id}")
async def show_any_account(account_id: UUID, request: Request) -> AccountView:
    """For support, by API key; and one's own."""
    async with transaction(request) as tx:
        principal = await principal_of(tx, request)
        await access.tenants.act_as(tx, str(account_id), role=WEB)
        account = await account_page(tx, account_id)
        await access.require(tx, principal, "Account::read", account.resource)
    return AccountView(**asdict(account))


@api.post("/accounts/{account_id}/credit", responses=LATER)
async def give_credit(account_id: UUID, body: CreditRequest, request: Request, doing: Doing) -> Any:
    """For support, by API key: for something that went wrong."""
    principal = await principal_of(doing.tx, request)
    await access.tenants.act_as(doing.tx, str(account_id), role=WEB)
    account = await account_page(doing.tx, account_id)
    action, at_commit = "Account::grant_credit", doing.at_commit
    await access.require(doing.tx, principal, action, account.resource, at_commit=at_commit)
    amount = Money.parse(body.amount, CURRENCY)
    run = await doing.start(grant_credit, account_id, str(uuid4()), amount)
    return doing.operation(run, wait=WAIT_S)


@api.post("/account/payout", responses=LATER)
async def pay_out(body: PayoutRequest, request: Request, doing: Doing) -> Any:
    """Have one's credit, or a part of it, paid to one's bank."""
    account = await may_now(doing, request, "Account::pay_out")
    amount = Money.parse(body.amount, CURRENCY)
    run = await doing.start(pay_out_credit, account.id, amount, body.iban)
    return doing.operation(run, wait=WAIT_S)


@api.post("/account/plan", responses=LATER)
async def choose_plan(body: PlanRequest, request: Request, doing: Doing) -> Any:
    """Another plan, from now on."""
    account = await may_now(doing, request, "Account::change_plan")
    run = await doing.start(change_plan, account.id, body.plan)
    return doing.operation(run, wait=WAIT_S)


@api.post("/account/card", responses=LATER)
async def choose_card(body: CardRequest, request: Request, doing: Doing) -> Any:
    """Another card; whoever owes something pays it with this one."""
    account = await may_now(doing, request, "Account::change_card")
    run = await doing.start(replace_card, account.id, body.card)
    return doing.operation(run, wait=WAIT_S)


@api.post("/account/cancellation", responses=LATER)
async def cancel(request: Request, doing: Doing) -> Any:
    """End the subscription: a trial at once, anything else when what was paid for has passed."""
    account = await may_now(doing, request, "Account::cancel")
    run = await doing.start(cancel_subscription, account.id)
    return doing.operation(run, wait=WAIT_S)


@api.post("/account/withdrawal", responses=LATER)
async def take_back(request: Request, doing: Doing) -> Any:
    """Take the contract back within two weeks: it ends at once, and what was paid is refunded."""
    account = await may_now(doing, request, "Account::cancel")
    run = await doing.start(withdraw, account.id, key=f"withdraw:{account.id}")
    return doing.operation(run, wait=WAIT_S)


@api.post("/account/closure", responses=LATER)
async def close(request: Request, doing: Doing) -> Any:
    """Close the account; closing it again is the same closing."""
    account = await may_now(doing, request, "Account::close")
    run = await doing.start(close_account, account.id, key=f"close:{account.id}")
    return doing.operation(run, wait=WAIT_S)
