"""Replacing for a while: where it is meant, and nowhere else."""

from __future__ import annotations

import random
from random import randint
from types import SimpleNamespace

from troth.base import backoff
from troth.lab.edge.patch import replaced


def test_a_function_is_replaced_wherever_the_application_has_it_by_name():
    real, other = randint, object()
    with replaced({(random, "randint"): other}):
        assert (random.randint, randint) == (other, other)
    assert (random.randint, randint) == (real, real)


def test_a_module_that_the_library_uses_is_replaced_there_only():
    """The application's own `import random` is the real one, although it is the same object."""
    real, other = random, SimpleNamespace(random=lambda: 1.0)
    with replaced({(backoff, "random"): other}):
        assert backoff.random is other
        assert random is real
    assert backoff.random is real
