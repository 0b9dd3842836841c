"""`troth console`: a link that works once, and who is kept out."""

from __future__ import annotations

import signal

import httpx2
import pytest

from tests.cli.processes import command


async def test_a_link_is_printed_and_the_next_one_when_it_was_used(migrated, tmp_path):
    url, schema = migrated
    words = [
        "console",
        "--database-url",
        url,
        "--schema",
        schema,
        "--port",
        "0",
        "--role",
        "viewer",
    ]
    async with command(*words, cwd=tmp_path) as served:
        first = (await served.line("console   http://127.0.0.1:")).split()[1]
        async with httpx2.AsyncClient(follow_redirects=True) as browser:
            page = await browser.get(first)
            assert page.status_code == 200
            assert "viewer" in page.text
        second = (await served.line("console   http://127.0.0.1:")).split()[1]
        async with httpx2.AsyncClient() as other:
            assert (await other.get(first)).status_code == 401
            assert (await other.get(second)).status_code == 303
        served.signal(signal.SIGINT)
        assert await served.end() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "a link is not enough for that"),
        (["--people"], "--people needs a program"),
        (["--role", "king"], "king"),
    ],
)
def test_what_would_let_anybody_in_is_refused(words, said, troth):
    code, out, err = troth("console", *words)
    assert code == 2
    assert said in out + err


def test_a_port_that_is_taken_is_told(troth):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = troth("console", "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "cannot be served on 127.0.0.1" in err


def test_without_its_packages_it_says_what_to_install(troth, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "troth.console.serving", raising=False)
    code, _, err = troth("console")
    assert code == 2
    assert "pip install 'troth[console]'" in err
