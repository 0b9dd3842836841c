"""What the API says of itself, held against what it does: generated requests, good and bad ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from examples.signup import api
from examples.signup.service import app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
GOOD = {"email": "new@example.com", "name": "Ada"}
EXAMPLES = 10  # for each operation, each way to prove who asks, and each kind of request
GENERATION = settings(
    max_examples=EXAMPLES,
    derandomize=True,  # the same requests each time
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def described(application: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The description, and the service behind it in this process, with a database of its own."""
    monkeypatch.setattr(api, "WAIT_S", 0.0)
    load_all_checks()
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    asgi.shutdown_lifespans()


@pytest.mark.slow
def test_it_does_what_it_says(described: Any, resident: Callable[[str], Any]) -> None:
    ada = resident("ada@example.com")
    callers = [{}, ada.headers, {"authorization": f"Bearer {ada.machine_key}"}]
    seen: Counter[tuple[str, int]] = Counter()

    operations = [found.ok() for found in described.get_all_operations()]
    operations.sort(key=lambda one: one.method == "delete")  # logging out comes last
    for operation in operations:
        for headers in callers:
            ask_all(operation.as_strategy(generation_mode=GenerationMode.POSITIVE), headers, seen)
            if operation.body or operation.path_parameters:  # something that can be got wrong
                wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
                ask_all(wrong, headers, seen)

    assert seen.total() >= 250, seen
    for label, status in (
        ("POST /v1/signups", 202),
        ("POST /v1/signups", 422),
        ("GET /v1/account", 200),
        ("GET /v1/account", 401),
        ("POST /v1/account/plan", 202),
        ("POST /v1/account/plan", 422),
        ("POST /v1/sessions", 401),
    ):
        assert seen[label, status], f"{label} never answered {status}"


def ask_all(cases: Any, headers: dict[str, str], seen: Counter[tuple[str, int]]) -> None:
    """Each case once; fails with the first answer that is not as described."""

    @GENERATION
    @given(cases)
    def answers(case: Any) -> None:
        if case.meta.generation.mode is GenerationMode.POSITIVE and case.path == "/v1/signups":
            case.body |= (
                GOOD  # what no pattern describes: an address and a name that can be printed
            )
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS)
        seen[case.operation.label, answer.status_code] += 1

    answers()
