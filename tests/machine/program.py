"""A program with a machine: `tests.machine.program:troth`."""

from tests.machine.conftest import subscription
from troth import Troth

troth = Troth()
subscription_machine = troth.include(subscription("subscription"))
empty = Troth()
