"""Payment methods: cards, by the test names and numbers of Stripe's documentation."""

from dataclasses import dataclass

from examples.signup.provider.endpoint import Endpoint, listing, retrieve
from examples.signup.provider.errors import ApiError, CardError
from examples.signup.provider.form import Form, at_least, hash_of, metadata, one_of, page_form, text
from examples.signup.provider.session import Session, merged
from examples.signup.provider.store import Json

PATH = "/v1/payment_methods"


@dataclass(frozen=True)
class TestCard:
    """A card that always behaves the same. `code` None: it pays."""

    __test__ = False  # for pytest, which collects by name

    name: str
    number: str
    brand: str = "visa"
    code: str | None = None
    decline_code: str | None = None
    message: str = "Your card was declined."
    declines_attach: bool = True

    @property
    def last4(self) -> str:
        return self.number[-4:]

    def declined(self, **more: object) -> CardError | None:
        """The bank's refusal, if this card has one."""
        if self.code is None:
            return None
        return CardError(self.code, self.decline_code, self.message, **more)


CARDS = (
    TestCard("visa", "4242424242424242"),
    TestCard("visa_debit", "4000056655665556"),
    TestCard("mastercard", "5555555555554444", "mastercard"),
    TestCard("amex", "378282246310005", "amex"),
    TestCard("chargeDeclined", "4000000000000002", code="card_declined",
             decline_code="generic_decline"),
    TestCard("chargeDeclinedInsufficientFunds", "4000000000009995", code="card_declined",
             decline_code="insufficient_funds", message="Your card has insufficient funds."),
    TestCard("chargeDeclinedLostCard", "4000000000009987", code="card_declined",
             decline_code="lost_card"),
    TestCard("chargeDeclinedStolenCard", "4000000000009979", code="card_declined",
             decline_code="stolen_card"),
    TestCard("chargeDeclinedExpiredCard", "4000000000000069", code="expired_card",
             message="Your card has expired."),
    TestCard("chargeDeclinedIncorrectCvc", "4000000000000127", code="incorrect_cvc",
             message="Your card's security code is incorrect."),
    TestCard("chargeDeclinedProcessingError", "4000000000000119", code="processing_error",
             message="An error occurred while processing your card. Try again in a little bit."),
    TestCard("chargeCustomerFail", "4000000000000341", code="card_declined",
             decline_code="generic_decline", declines_attach=False),
    TestCard("authenticationRequired", "4000002760003184", code="authentication_required",
             decline_code="authentication_required", declines_attach=False,
             message="Your card was declined. This transaction requires authentication."),
)  # fmt: skip

BY_NAME = {f"pm_card_{card.name}": card for card in CARDS}
BY_TOKEN = {f"tok_{card.name}": card for card in CARDS}
BY_NUMBER = {card.number: card for card in CARDS}
BY_LAST4 = {card.last4: card for card in CARDS}
assert len(BY_LAST4) == len(CARDS)


def card_of(method: Json) -> TestCard:
    return BY_LAST4[method["card"]["last4"]]


def create(session: Session, params: Json) -> Json:
    details = params.get("card", {})
    if "token" in details:
        card = BY_TOKEN.get(details["token"])
        if card is None:
            raise ApiError(
                400,
                f"No such token: '{details['token']}'",
                code="resource_missing",
                param="card[token]",
            )
    else:
        card = BY_NUMBER.get(details.get("number", ""))
        if card is None:
            message = "This server takes test cards only: card[token]=tok_visa, or a test number."
            raise ApiError(402, message, code="incorrect_number", param="number", kind="card_error")
    return from_card(session, card, params)


def from_card(session: Session, card: TestCard, params: Json) -> Json:
    details = params.get("card", {})
    return session.create(
        "payment_method",
        {
            "billing_details": {
                name: params.get("billing_details", {}).get(name)
                for name in ("address", "email", "name", "phone")
            },
            "card": {
                "brand": card.brand,
                "exp_month": details.get("exp_month", 12),
                "exp_year": details.get("exp_year", 2040),
                "funding": "debit" if card.name == "visa_debit" else "credit",
                "last4": card.last4,
            },
            "customer": None,
            "metadata": merged({}, params.get("metadata", {})),
            "type": "card",
        },
    )


def usable(session: Session, ident: str, param: str) -> Json:
    """The payment method; a test name like `pm_card_visa` makes a new one."""
    if card := BY_NAME.get(ident):
        return from_card(session, card, {})
    return session.get("payment_method", ident, param)


def belonging_to(session: Session, ident: str, customer: str, param: str) -> Json:
    method = session.get("payment_method", ident, param)
    if method["customer"] != customer:
        message = (
            f"The customer does not have a payment method with the ID {ident}. The payment method "
            "must be attached to the customer."
        )
        raise ApiError(400, message, code="resource_missing", param=param)
    return method


def attach_to(session: Session, ident: str, customer: str, param: str = "id") -> Json:
    """Attach; the bank checks the card at this moment."""
    session.get("customer", customer, "customer")
    method = usable(session, ident, param)
    if method["customer"] == customer:
        return method
    if method["customer"] is not None:
        message = "The payment method you provided has already been attached to a customer."
        raise ApiError(400, message, code="payment_method_unexpected_state")
    card = card_of(method)
    if card.declines_attach and (refusal := card.declined()):
        raise refusal
    return session.change(method, {"customer": customer}, "payment_method.attached")


def attach(session: Session, params: Json) -> Json:
    return attach_to(session, params["id"], params["customer"])


def detach(session: Session, params: Json) -> Json:
    method = session.get("payment_method", params["id"])
    if method["customer"] is None:
        message = "The payment method you provided is not attached to a customer so detachment is "
        raise ApiError(400, message + "impossible.", code="payment_method_unexpected_state")
    return detach_from_customer(session, method)


def detach_from_customer(session: Session, method: Json) -> Json:
    return session.change(method, {"customer": None}, "payment_method.detached")


def update(session: Session, params: Json) -> Json:
    method = session.get("payment_method", params["id"])
    changes: Json = {}
    if "metadata" in params:
        changes["metadata"] = merged(method["metadata"], params["metadata"])
    if "billing_details" in params:
        changes["billing_details"] = {**method["billing_details"], **params["billing_details"]}
    return session.change(method, changes, "payment_method.updated")


CARD = hash_of(token=text, number=text, exp_month=at_least(1), exp_year=at_least(2000), cvc=text)
BILLING = hash_of(email=text, name=text, phone=text)
TYPE = one_of("card")
LIST_FORM = page_form(type=TYPE)

ENDPOINTS = [
    Endpoint(
        "POST",
        PATH,
        Form({"type": TYPE}, card=CARD, billing_details=BILLING, metadata=metadata),
        create,
    ),
    listing("payment_method", PATH, customer=text, type=TYPE),
    retrieve("payment_method", PATH),
    Endpoint("POST", f"{PATH}/{{id}}", Form(billing_details=BILLING, metadata=metadata), update),
    Endpoint("POST", f"{PATH}/{{id}}/attach", Form({"customer": text}), attach),
    Endpoint("POST", f"{PATH}/{{id}}/detach", Form(), detach),
]
