"""The resources, one module per family: forms and handlers."""

from examples.signup.provider.endpoint import Endpoints
from examples.signup.provider.resources import (
    balance,
    catalog,
    customers,
    events,
    invoices,
    payment_methods,
    payments,
    payouts,
    refunds,
    subscriptions,
    webhook_endpoints,
)

ENDPOINTS = Endpoints(
    customers.ENDPOINTS,
    catalog.ENDPOINTS,
    payment_methods.ENDPOINTS,
    subscriptions.ENDPOINTS,
    payments.ENDPOINTS,
    refunds.ENDPOINTS,
    balance.ENDPOINTS,
    payouts.ENDPOINTS,
    invoices.ENDPOINTS,
    webhook_endpoints.ENDPOINTS,
    events.ENDPOINTS,
)
