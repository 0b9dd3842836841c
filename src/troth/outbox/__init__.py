"""Events out: what is published exists if and only if the transaction that published it commits, and goes out at least once.

`publish` writes a message and, in the same statement, one *delivery* for each destination and each endpoint that wants
it. Relays in worker processes *claim* deliveries: a lease, with a claim number. They send outside of any transaction, and
record what came of it under that number. A relay that dies or freezes holds up what it had until the lease ends; then
another relay sends it again, and the other side may see it twice, always with the same id (`webhook-id`, `Nats-Msg-Id`,
`Message-ID`), so that it can tell. A destination that may not send twice says so (`delivery="at_most_once"`): then such a
delivery is *in doubt*, and a person decides.

`model` has the words, the states and the interface of a destination, `rules` what follows an attempt, `publish` what
users call, `relay` the work. Webhooks, mail and NATS JetStream are in `troth.integrations`.
"""

from troth.outbox.model import (
    Delivered,
    Destination,
    Endpoint,
    EndpointNotFoundError,
    Order,
    Outgoing,
    Refused,
    Terms,
    Unsettled,
)
from troth.outbox.publish import Outbox

__all__ = [
    "Delivered",
    "Destination",
    "Endpoint",
    "EndpointNotFoundError",
    "Order",
    "Outbox",
    "Outgoing",
    "Refused",
    "Terms",
    "Unsettled",
]
