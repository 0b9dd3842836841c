"""The pages. A form is a POST that begins something and leads to a page that tells what has become of it.

Each form carries a key that was made with it, and that key is the start key of what it begins: three clicks, a reload
and the back button send it again, and find what is there already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Request, Response
from jinja2 import Environment, FileSystemLoader
from pydantic import TypeAdapter, ValidationError
from starlette.responses import HTMLResponse, RedirectResponse

from examples.signup.api import (
    SESSION_S,
    CardRequest,
    PayoutRequest,
    PlanRequest,
    SignupRequest,
    may,
)
from examples.signup.books import CURRENCY
from examples.signup.core import SEATS, troth
from examples.signup.credit import pay_out_credit
from examples.signup.edge import (
    COOKIE,
    client_of,
    keep_password,
    login_id,
    principal_of,
    require_own_page,
    transaction,
)
from examples.signup.people import NoAccountError, access
from examples.signup.plans import cancel_subscription, change_plan, close_account, replace_card
from examples.signup.progress import progress_of
from examples.signup.web.story import change_story
from examples.signup.web.words import SUBSCRIPTIONS, Story, signup_story
from examples.signup.workflow import signup
from troth import KeyConflictError, Money, Tx, Workflow
from troth.access import (
    Denied,
    NotAuthenticatedError,
    TooManyAttemptsError,
    WrongCredentialsError,
    forgotten_cookie,
    session_cookie,
)
from troth.integrations.fastapi import idempotent

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
)

# Forms do not use the header: their key is the start key of the run that they begin.
pages = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Choice:
    id: str
    name: str
    price: str = ""
    seats: int = 0


PLANS = [
    Choice("starter", "Starter", "€9", SEATS["starter"]),
    Choice("pro", "Pro", "€49", SEATS["pro"]),
]
CARDS = [
    Choice("pm_card_visa", "Visa ending in 4242"),
    Choice("pm_card_chargeDeclined", "A card that the bank declines"),
    Choice("pm_card_chargeCustomerFail", "A card that cannot pay later"),
]


def page(name: str, status: int = 200, **values: Any) -> Response:
    """A page. Asked for anew, it is made anew; the back button shows the form that was sent, with its key."""
    text = TEMPLATES.get_template(f"{name}.html").render(plans=PLANS, cards=CARDS, **values)
    return HTMLResponse(text, status, SAFE)


SAFE = {
    "cache-control": "private, no-cache",
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; form-action 'self'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


def go(url: str) -> Response:
    """To another page, by GET: a reload there sends nothing again."""
    return RedirectResponse(url, 303)


@pages.get("/")
async def home() -> Response:
    return page("home")


# Signing up ---------------------------------------------------------------------------------------


@pages.get("/signup")
async def signup_form(plan: str = "starter") -> Response:
    given = {"name": "", "email": "", "plan": plan, "start": "trial", "card": CARDS[0].id}
    return page("signup", key=uuid4(), given=given, problem=None)


@pages.post("/signup")
@idempotent(exempt=True)
async def sign_up(request: Request) -> Response:
    require_own_page(request)
    form = {name: str(value) for name, value in (await request.form()).items()}
    key = form.pop("key", "")
    start = form.pop("start", "trial")
    try:
        asked = SignupRequest.model_validate({**form, "trial": start == "trial"})
        form_key = TypeAdapter(UUID).validate_python(key)
    except ValidationError as error:
        given = {**form, "start": start}
        return page("signup", 422, key=key or uuid4(), given=given, problem=words_of(error))
    start_key = f"form:{form_key}"
    login = login_id(start_key)
    hashed = await access.people.passwords.hash(asked.password or "")
    person = (asked.email, asked.name, asked.plan, asked.card, asked.trial, login)
    try:
        async with transaction(request) as tx:
            await keep_password(tx, login, hashed)
            run = await troth.start(signup, *person, key=start_key, tx=tx)
    except KeyConflictError as conflict:
        return sent_before(conflict.run_id, "/signup")
    return go(f"/signups/{run.id}")


def sent_before(run_id: UUID, again: str) -> Response:
    """The back button, and other values: this form has done its work."""
    return page(
        "message",
        422,
        title="This form was sent before",
        detail="It was sent with other values, and what it began goes on. For another one, begin with a fresh form.",
        next={"url": f"/signups/{run_id}", "words": "See what became of it"},
        again=again,
    )


@pages.get("/signups/{signup_id}")
async def signup_page(signup_id: UUID, request: Request) -> Response:
    async with transaction(request) as tx:
        progress = await progress_of(tx, signup_id)
    if progress is None:
        return page("message", 404, title="There is no such signup", detail="Is the address whole?")
    return story_page(signup_story(progress))


def story_page(story: Story) -> Response:
    return page("progress", story=story, again_s=story.again_s)


# Coming and going ---------------------------------------------------------------------------------


@pages.get("/login")
async def login_form() -> Response:
    return page("login", email="", problem=None)


@pages.post("/login")
@idempotent(exempt=True)
async def log_in(
    request: Request, email: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    require_own_page(request)
    try:
        begun = await access.log_in(
            request.app.state.pool.connection,
            email,
            password,
            client=client_of(request),
            replaces=request.cookies.get(COOKIE),
        )
    except WrongCredentialsError:
        return page("login", 401, email=email, problem="Address or password is wrong.")
    except TooManyAttemptsError as error:
        return page("login", 429, email=email, problem=f"{str(error).capitalize()}.")
    answer = go("/account")
    answer.headers["set-cookie"] = session_cookie(begun.token, SESSION_S)
    return answer


@pages.post("/logout")
@idempotent(exempt=True)
async def log_out(request: Request) -> Response:
    require_own_page(request)
    async with transaction(request) as tx:
        await access.sessions.end(tx, request.cookies.get(COOKIE, ""))
    answer = go("/")
    answer.headers["set-cookie"] = forgotten_cookie()
    return answer


# The account --------------------------------------------------------------------------------------


@pages.get("/account")
async def account(request: Request) -> Response:
    try:
        async with transaction(request) as tx:
            _, mine = await may(tx, request, "Account::read")
    except (NotAuthenticatedError, NoAccountError):
        return go("/login")
    keys = {name: uuid4() for name in ("plan", "card", "payout", "cancellation", "closure")}
    return page(
        "account",
        account=mine,
        keys=keys,
        person=True,
        problem=None,
        about_subscription=SUBSCRIPTIONS.get(mine.subscription, mine.subscription),
    )


@pages.post("/account/plan")
@idempotent(exempt=True)
async def change(request: Request) -> Response:
    return await begin(
        request,
        "Account::change_plan",
        change_plan,
        lambda form: (PlanRequest.model_validate(form).plan,),
    )


@pages.post("/account/card")
@idempotent(exempt=True)
async def card(request: Request) -> Response:
    return await begin(
        request,
        "Account::change_card",
        replace_card,
        lambda form: (CardRequest.model_validate(form).card,),
    )


@pages.post("/account/payout")
@idempotent(exempt=True)
async def payout(request: Request) -> Response:
    def read(form: dict[str, str]) -> tuple[Money, str]:
        asked = PayoutRequest.model_validate(form)
        return Money.parse(asked.amount, CURRENCY), asked.iban

    return await begin(request, "Account::pay_out", pay_out_credit, read)


@pages.post("/account/cancellation")
@idempotent(exempt=True)
async def cancellation(request: Request) -> Response:
    return await begin(request, "Account::cancel", cancel_subscription, lambda _: ())


@pages.post("/account/closure")
@idempotent(exempt=True)
async def closure(request: Request) -> Response:
    return await begin(request, "Account::close", close_account, lambda _: ())


async def begin(
    request: Request,
    action: str,
    workflow: Workflow[Any, Any],
    read: Callable[[dict[str, str]], tuple[Any, ...]],
) -> Response:
    """Begin what a form of the account page asks for: decision and start in one transaction."""
    form = {name: str(value) for name, value in (await request.form()).items()}
    try:
        key = TypeAdapter(UUID).validate_python(form.pop("key", ""))
        given = read(form)
    except ValidationError as error:
        return page("message", 422, title="That does not fit", detail=words_of(error))
    try:
        async with transaction(request) as tx:
            _, mine = await may(tx, request, action)
            run = await troth.start(workflow, mine.id, *given, key=f"form:{mine.id}:{key}", tx=tx)
    except NotAuthenticatedError:
        return go("/login")
    except KeyConflictError as conflict:
        return sent_before(conflict.run_id, "/account")
    except Denied as no:
        async with transaction(request) as tx:
            await access.record(tx, no.decision)
        detail = "It is not possible as your account stands now."
        return page("message", 403, title="You may not do this", detail=detail)
    return go(f"/account/changes/{run.id}")


@pages.get("/account/changes/{run_id}")
async def change_page(run_id: UUID, request: Request) -> Response:
    """What has become of a change; only for whoever has the account."""
    async with transaction(request) as tx:
        tenant = await tenant_of(tx, request)
        story = await change_story(tx, run_id, tenant)
    if story is None:
        return page("message", 404, title="There is no such change", detail="Is the address whole?")
    return story_page(story)


async def tenant_of(tx: Tx, request: Request) -> str | None:
    """The account of whoever asks; None once it is closed, and they with it."""
    try:
        return (await principal_of(tx, request)).tenant
    except NotAuthenticatedError:
        return None


def words_of(error: ValidationError) -> str:
    """What does not fit, in a sentence that repeats no value."""
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc']) or 'the form'}: {each['msg']}"
        for each in error.errors()
    )
