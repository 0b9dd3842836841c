"""The cell and the runs of the command line's tests; what they are is told there."""

from tests.cli.conftest import cell, runs

__all__ = ["cell", "runs"]
