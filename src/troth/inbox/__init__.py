"""Events from other systems, which may come twice, early, late, out of order, or never.

*Taking in* (`accept`) verifies the signature over the raw bytes and inserts the event once by its source and id; that is
all that a webhook request waits for. *Applying* (`process`) is done by workers: an object's row is locked, its earliest
event is handed to the handler, and the handler's work commits together with the mark that the event was applied. So each
is applied exactly once, serially for an object and in parallel for different ones, and nothing is leased: a process
that dies loses its transaction and with it the lock. *Sweeping* (`sweep`) reads the provider's own list of events and takes in
what was never delivered.
"""

from troth.inbox.accept import Accepted
from troth.inbox.definition import Inbox
from troth.inbox.model import (
    BodyTooLargeError,
    Event,
    EventNotFoundError,
    Listed,
    MalformedEventError,
    MalformedSignatureError,
    MediaTypeError,
    Page,
    RefusedDeliveryError,
    ReplayError,
    SignatureMismatchError,
    StaleSignatureError,
    State,
    Superseded,
)
from troth.inbox.schemes import Scheme, StandardWebhooks, StripeSignatures

__all__ = [
    "Accepted",
    "BodyTooLargeError",
    "Event",
    "EventNotFoundError",
    "Inbox",
    "Listed",
    "MalformedEventError",
    "MalformedSignatureError",
    "MediaTypeError",
    "Page",
    "RefusedDeliveryError",
    "ReplayError",
    "Scheme",
    "SignatureMismatchError",
    "StaleSignatureError",
    "StandardWebhooks",
    "State",
    "StripeSignatures",
    "Superseded",
]
