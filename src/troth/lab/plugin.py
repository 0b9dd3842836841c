"""The pytest plugin: a fixture `lab`, and the verdicts at the end. It imports nothing of the lab until a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from troth.lab.session import Lab

_verdicts = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lab-strict`: an open verdict (BOUNDED) fails too."""
    group = parser.getgroup("lab", "what crashes, lost answers and retries do to a backend")
    group.addoption(
        "--lab-strict", action="store_true", help="a verdict that is only BOUNDED fails the test"
    )


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A scenario of the lab. Its verdict is printed at the end of the session."""
    from troth.lab.session import Lab
    from troth.lab.show.keep import keep
    from troth.lab.show.terminal import headline, hints

    made = Lab(request.node.name, _progress(request.config), test=request.node.nodeid)
    yield made
    if made.verdict is None:
        return
    kept = keep(made.verdict, request.config.rootpath)
    lines = request.config.stash.setdefault(_verdicts, [])
    lines.extend((headline(kept), *hints(kept)))
    if made.verdict.word == "BOUNDED" and request.config.getoption("--lab-strict"):
        pytest.fail(f"--lab-strict:\n{made.verdict}", pytrace=False)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """One line per verdict."""
    if lines := config.stash.get(_verdicts, []):
        terminalreporter.section("lab")
        for line in lines:
            terminalreporter.write_line(line)


def _progress(config: pytest.Config) -> Callable[[str], None] | None:
    """A line that overwrites itself, on a terminal only."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None or not reporter.isatty:
        return None

    def show(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.rewrite(f"  {line}", erase=True)

    return show
