"""Databases for every test: one server a run, one database a worker, one schema a test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.harness.postgres import (
    PrivateServer,
    SharedServer,
    create_database,
    drop_schema,
    open_directory,
)
from tests.harness.schemas import Schemas

RUN_DIRECTORY = "TROTH_TEST_DIRECTORY"  # inherited by the workers of xdist

# How long one example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        os.environ[RUN_DIRECTORY] = str(open_directory("troth-tests-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    if not _is_worker(config):
        SharedServer.remove(Path(os.environ.pop(RUN_DIRECTORY)))


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A database of this worker's own, on the server that all workers of the run share."""
    server = SharedServer(Path(os.environ[RUN_DIRECTORY]))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    yield create_database(server.url, f"troth_{worker}")
    server.release()


@pytest.fixture
def schema(database_url: str) -> Iterator[str]:
    """The name of a schema that does not exist yet and is dropped after the test."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    yield name
    drop_schema(database_url, name)


@pytest.fixture(scope="session")
def schemas(database_url: str) -> Iterator[Schemas]:
    """Where migrated schemas come from."""
    kept = Schemas(database_url)
    yield kept
    kept.close()


@pytest.fixture
def migrated(schemas: Schemas) -> Iterator[tuple[str, str]]:
    """(url, schema) with all migrations applied, and nothing in it."""
    name = schemas.take()
    yield schemas.url, name
    schemas.give_back(name)


@pytest.fixture
def server() -> Iterator[PrivateServer]:
    """A server of this test's own: it may be stopped, killed, frozen and started again."""
    private = PrivateServer()
    yield private
    private.remove()
