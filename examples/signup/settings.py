"""Where the others are, from the environment."""

import os
import secrets
from pathlib import Path

EFFECT_TIMEOUT_S = float(os.environ.get("SIGNUP_EFFECT_TIMEOUT_S", "10"))
"""How long a request may take before nobody knows what became of it. After the loss of a worker its
successor waits this long, and a little, before it asks again: short means quick, and more doubts."""


SWEEP_EVERY_S = float(os.environ.get("SIGNUP_SWEEP_EVERY_S", "300"))
"""How often the provider's list of events is read, for those that were never delivered."""


def database_url() -> str:
    """The application's database, which is troth's too."""
    return os.environ["TROTH_DATABASE_URL"]


def stripe_url() -> str:
    return os.environ.get("SIGNUP_STRIPE_URL", "https://api.stripe.com")


def stripe_key() -> str:
    return os.environ.get("SIGNUP_STRIPE_KEY", "sk_test_signup")


def bank_url() -> str:
    return os.environ.get("SIGNUP_BANK_URL", "http://127.0.0.1:8090")


def bank_account() -> str:
    """Our account, as the bank calls it in the names of files."""
    return os.environ.get("SIGNUP_BANK_ACCOUNT", "SIGNUP")


def bank_iban() -> str:
    """Our account, as everybody calls it."""
    return os.environ.get("SIGNUP_BANK_IBAN", "DE89370400440532013000")


def statements() -> Path:
    """The directory into which the bank puts its statements."""
    return Path(os.environ.get("SIGNUP_STATEMENTS", "statements"))


def smtp_port() -> int:
    return int(os.environ.get("SIGNUP_SMTP_PORT", "1025"))


def webhook_secrets() -> list[str]:
    """What the provider signs its events with: the present secret, then older ones. Without any, none is believed."""
    given = os.environ.get("SIGNUP_WEBHOOK_SECRETS", "")
    return given.split(",") if given else [f"whsec_{secrets.token_hex(16)}"]


def origin() -> str:
    """Where people see the pages: forms are taken from there alone."""
    return os.environ.get("SIGNUP_ORIGIN", "http://localhost:8000")
