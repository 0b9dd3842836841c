"""What a test asks of a model: that it keeps its promises, or that it breaks one without a rule."""

from __future__ import annotations

from typing import Any

from tests.model.search import Model, search


def assert_holds(
    name: str, model: Model[Any], *, limit: int = 1_500_000, more_than: int = 0
) -> None:
    """Every history keeps every promise. *more_than*: so many states there are, or the model has lost its choices."""
    result = search(model, limit=limit)
    print(f"{name}: {result.states} states")  # noqa: T201  (shown by -s)
    assert result.violation is None, "\n".join([result.violation, *result.trace])
    assert result.states > more_than, "the model has lost its choices"


def assert_breaks(model: Model[Any], found: str, move: str) -> None:
    """Some history breaks this promise, and such a move is in it."""
    result = search(model)
    assert result.violation == found
    assert any(move in line for line in result.trace), "\n".join(result.trace)
