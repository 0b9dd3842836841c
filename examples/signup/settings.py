"""Where the others are, from the environment."""

import os

DATABASE_URL = os.environ.get("TROTH_DATABASE_URL", "")
STRIPE_URL = os.environ.get("SIGNUP_STRIPE_URL", "http://127.0.0.1:12111")
STRIPE_KEY = os.environ.get("SIGNUP_STRIPE_KEY", "sk_test_signup")
SMTP_PORT = int(os.environ.get("SIGNUP_SMTP_PORT", "1025"))
EFFECT_TIMEOUT_S = float(os.environ.get("SIGNUP_EFFECT_TIMEOUT_S", "10"))
"""How long a request may take before nobody knows what became of it. After the loss of a worker its
successor waits this long, and a little, before it asks again: short means quick, and more doubts."""
