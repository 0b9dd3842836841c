"""`troth dev`: it follows the source, and ends with everything that it began."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.cli.processes import DEADLINE_S, Command, command
from tests.harness.postgres import open_directory, wait_until
from troth import Troth, Workflow
from troth.cli.dev import snapshot

SOURCE = """
from answers import ANSWER
from troth import Troth

troth = Troth()

@troth.workflow
async def ask() -> str:
    return ANSWER
"""


@pytest.fixture
def project():
    directory = open_directory("troth-project-")
    (directory / "shop.py").write_text(SOURCE)
    (directory / "answers.py").write_text("ANSWER = 'first'\n")
    yield directory
    shutil.rmtree(directory)


def ask() -> tuple[Troth, Workflow[[], str]]:
    """The program's own client: it starts the workflow by its name."""
    client = Troth()

    @client.workflow(name="ask")
    async def asked() -> str:
        return ""

    return client, asked


async def answer_of(url: str) -> str:
    client, asked = ask()
    client.url = url
    async with client.client():
        run = await client.start(asked)
        return await run.result(DEADLINE_S)


async def test_a_change_of_the_source_is_followed(project: Path):
    async with command("dev", "shop:troth", cwd=project) as dev:
        url = (await dev.line("database  ")).split()[1]
        assert url.startswith("postgresql://"), "an embedded database, to be opened with psql"
        assert await dev.line("worker    shop:troth: ask")
        link = (await dev.line("console   ")).split()[1]
        assert await answer_of(url) == "first"
        async with httpx2.AsyncClient(follow_redirects=True) as browser:
            page = await browser.get(link)
            assert page.status_code == 200
            assert "ask" in (await browser.get(str(page.url.join("/runs")))).text

        (project / "answers.py").write_text("ANSWER = 'second'  # longer\n")
        await dev.line("changed: answers.py")
        await dev.line("worker    shop:troth")
        assert await answer_of(url) == "second"

        (project / "answers.py").write_text("ANSWER = (\n")
        await dev.line("SyntaxError")
        await dev.line("begins anew when a file changes")
        (project / "answers.py").write_text("ANSWER = 'third'  # mended again\n")
        await dev.line("worker    shop:troth")
        assert await answer_of(url) == "third"
        await ends_with_everything(dev, project)


async def test_without_a_program_it_keeps_the_database(project: Path):
    async with command("dev", cwd=project) as dev:
        await dev.line("database  postgresql://")
        await dev.line("Ctrl-C ends it")
        await ends_with_everything(dev, project)


async def ends_with_everything(dev: Command, project: Path) -> None:
    dev.signal(signal.SIGINT)
    assert await dev.end() == 0
    await asyncio.to_thread(wait_until, lambda: not living_in(project), "nothing is left running")


def living_in(directory: Path) -> list[str]:
    """The processes that work in a directory or below it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(directory):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


async def test_a_wrong_program_ends_it(project: Path, migrated):
    url, _ = migrated
    async with command("dev", "shop:nothing", "--database-url", url, cwd=project) as dev:
        assert await dev.end() == 2
    assert "has no nothing; it has shop:troth" in dev.said[-1]


async def test_there_is_no_embedded_database_to_keep(project: Path):
    async with command("dev", cwd=project, TROTH_DATABASE_URL="host=127.0.0.1") as dev:
        assert await dev.end() == 2
    assert "TROTH_DATABASE_URL" in dev.said[-1]


def test_what_is_watched(tmp_path: Path):
    for name in (
        "a.py",
        "inner/b.py",
        ".venv/c.py",
        "env/pyvenv.cfg",
        "env/lib/d.py",
        "inner/e.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert {Path(path).name for path in snapshot(tmp_path)} == {"a.py", "b.py"}
