"""The pytest plugin: a fixture `lab`, and the verdicts at the end. It imports nothing of the lab until a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from troth.lab.rerun import Kept
    from troth.lab.session import Lab
    from troth.lab.verdict import Verdict

_verdicts = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lab-strict`: an open verdict (BOUNDED) fails too. `--lab-reuse`: what still stands is not searched again."""
    group = parser.getgroup("lab", "what crashes, lost answers and retries do to a backend")
    group.addoption(
        "--lab-replay",
        metavar="ID",
        help="carry out a history that was found before, and nothing else",
    )
    group.addoption(
        "--lab-results", metavar="FILE", help="write every verdict's word, as JSON lines"
    )
    group.addoption(
        "--lab-reuse",
        action="store_true",
        help="a HOLDS that was found before stands, if nothing has changed on which it depends",
    )
    group.addoption(
        "--lab-strict", action="store_true", help="a verdict that is only BOUNDED fails the test"
    )


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A scenario of the lab. Its verdict is printed at the end of the session."""
    from troth.lab.session import Lab
    from troth.lab.show.compose import compose
    from troth.lab.show.keep import keep
    from troth.lab.show.terminal import headline, hints

    made = Lab(request.node.name, _progress(request.config), test=request.node.nodeid)
    again = request.config.getoption("--lab-replay")
    if again is not None:
        made.again = _kept(request.config, again)
    if request.config.getoption("--lab-reuse"):
        from troth.lab.reuse import Reuse

        made.reuse = Reuse(_folder(request.config) / "holds")
    yield made
    if made.verdict is None:
        return
    _keep(request, made.verdict)
    kept = compose(made.verdict) if again else keep(made.verdict, request.config.rootpath)
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


def _folder(config: pytest.Config) -> Path:
    return config.rootpath / ".troth-lab"


def _kept(config: pytest.Config, name: str) -> Kept:
    import msgspec

    from troth.lab.rerun import Kept

    try:
        return msgspec.json.decode((_folder(config) / f"{name}.json").read_bytes(), type=Kept)
    except OSError:
        raise pytest.UsageError(
            f"--lab-replay: nothing is kept under {name!r} in {_folder(config)}"
        ) from None


def _keep(request: pytest.FixtureRequest, verdict: Verdict) -> None:
    """Write down what was found, so that it can be carried out again."""
    import msgspec

    from troth.lab.report import counterexample
    from troth.lab.rerun import Kept

    for one in verdict.counterexamples:
        kept = Kept(
            one.id,
            request.node.nodeid,
            one.promise.title,
            one.faults,
            one.schedule,
            "\n".join(counterexample(verdict, one)),
        )
        _folder(request.config).mkdir(exist_ok=True)
        (_folder(request.config) / f"{one.id}.json").write_bytes(msgspec.json.encode(kept))
    if results := request.config.getoption("--lab-results"):
        line = {"test": request.node.nodeid, "word": verdict.word, "status": verdict.exit_status}
        with Path(results).open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


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
