"""Where the others are, from the environment."""

import os

EFFECT_TIMEOUT_S = float(os.environ.get("SIGNUP_EFFECT_TIMEOUT_S", "10"))
"""How long a request may take before nobody knows what became of it. After the loss of a worker its
successor waits this long, and a little, before it asks again: short means quick, and more doubts."""


def database_url() -> str:
    """The application's database, which is troth's too."""
    return os.environ["TROTH_DATABASE_URL"]


def stripe_url() -> str:
    return os.environ.get("SIGNUP_STRIPE_URL", "https://api.stripe.com")


def stripe_key() -> str:
    return os.environ.get("SIGNUP_STRIPE_KEY", "sk_test_signup")


def smtp_port() -> int:
    return int(os.environ.get("SIGNUP_SMTP_PORT", "1025"))
