"""Stripe's webhook signature: HMAC-SHA256 over `timestamp.body`, in the header `Stripe-Signature`.

Source: docs.stripe.com/webhooks/signature. The same as `stripe.WebhookSignature` checks.
"""

import hashlib
import hmac


def signature(secret: str, body: bytes, timestamp: int) -> str:
    """The header's value. The secret is used as it is, with its prefix `whsec_`."""
    signed = f"{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"
