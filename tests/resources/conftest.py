"""A schema for each test, and a program on it."""

from collections.abc import Iterator

import pytest

from tests.workflow.place import Place
from troth import Troth


@pytest.fixture
def place(migrated: tuple[str, str]) -> Iterator[Place]:
    made = Place(*migrated)
    yield made
    made.close()


@pytest.fixture
def troth(place: Place) -> Troth:
    return place.troth()
