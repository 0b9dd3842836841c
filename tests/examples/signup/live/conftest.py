from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.examples.signup.live.customer import Customer
from tests.examples.signup.live.running import Service, service

__all__ = ["service"]


@pytest.fixture
def customer(service: Service) -> Iterator[Callable[[str], Customer]]:
    """Makes somebody who has no account yet. Afterwards, the provider delivers well again."""
    with ExitStack() as stack:

        def make(name: str) -> Customer:
            made = stack.enter_context(closing(Customer(service, name)))
            stack.callback(made.deliver)
            return made

        yield make
