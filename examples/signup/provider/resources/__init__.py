"""The resources, one module per family: forms and handlers."""

from examples.signup.provider.endpoint import Endpoints
from examples.signup.provider.resources import (
    catalog,
    customers,
    events,
    payment_methods,
    payments,
    refunds,
    subscriptions,
)

ENDPOINTS = Endpoints(
    customers.ENDPOINTS,
    catalog.ENDPOINTS,
    payment_methods.ENDPOINTS,
    subscriptions.ENDPOINTS,
    payments.ENDPOINTS,
    refunds.ENDPOINTS,
    events.ENDPOINTS,
)
