"""What a page says to browsers, and what a request must be before anything happens."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.cli.parked import Journal, park
from tests.console.conftest import ORIGIN, rows, words
from tests.console.hostile import HOSTILE, require_harmless
from tests.console.world import coming_and_going, in_attention, world
from troth.console import Console, Role
from troth.console.screens import SCREENS
from troth.console.security import MOST_FORM_BYTES, POLICY

BUG = {"at": "x", "message": "it broke"}
PAGES = (
    "/runs",
    "/act/run.send?run=" + "0" * 32,
    "/nowhere",
    "/sign-in",
    "/static/app.css",
    "/jump?q=x",
)


@pytest.mark.parametrize("path", PAGES)
async def test_every_answer_has_the_policy_and_its_headers(path, cell, meet):
    headers = (await meet().get(path)).headers
    assert headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    kept = "immutable" if path.startswith("/static") else "no-store"
    assert kept in headers["cache-control"]


async def test_pages_hold_nothing_that_the_policy_forbids(runs, meet):
    ada = meet()
    paths = ["/runs", f"/runs/{runs['broken']}", f"/runs/{runs['doubtful']}?view=timeline"]
    paths += [f"/runs/{runs['greet']}?view=journal", f"/act/run.cancel?run={runs['broken']}"]
    paths += ["/overview", "/attention", "/effects", f"/effects/{runs['doubtful']}"]
    paths += [f"/act/effect.settle?run={runs['doubtful']}"]
    for path in paths:
        page = await ada.text(path)
        assert not re.search(r"<script(?![^>]*\bsrc=)", page), "an inline script"
        assert not re.search(r"\son\w+\s*=", page), "an inline handler"
        assert not re.search(r"\sstyle\s*=|<style", page), "an inline style"
        assert not re.search(r"""(src|href)=["'](https?:)?//""", page), "something from elsewhere"


def every_post() -> list[str]:
    """The paths of all routes of the console that take a POST."""
    from starlette.routing import Route

    from tests.console.conftest import by_header
    from troth import Troth

    routes = Console(Troth("postgresql://nowhere"), identify=by_header)._app.routes
    found = [
        each.path for each in routes if isinstance(each, Route) and "POST" in (each.methods or ())
    ]
    assert len(found) >= 4
    return [path.replace("{act}", "run.cancel") for path in found]


@pytest.mark.parametrize("path", every_post())
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.test"},
        {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
        {"origin": ORIGIN, "sec-fetch-site": "same-site"},
        {"origin": "null"},
        {},
    ],
    ids=["another-origin", "cross-site", "same-site", "null", "nothing"],
)
async def test_a_post_from_elsewhere_does_nothing(path, headers, cell, meet, acts):
    ada, run = meet(), str(park(cell, Journal(), "bug", BUG))
    form = {"form_token": await ada.token(), "run": run, "of": "input"}
    answer = await ada.http.post(path, data=form, headers=headers)
    assert answer.status_code == 403
    assert "did not come from a page of the console" in words(answer.text)
    assert acts() == []


@pytest.mark.parametrize("path", every_post())
async def test_a_post_without_the_token_of_this_person_does_nothing(path, cell, meet, acts):
    ada, bob = meet("ada"), meet("bob")
    run = str(park(cell, Journal(), "bug", BUG))
    own = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
    for token in ("", "0" * 64, await bob.token()):
        form = {"form_token": token, "run": run, "of": "input"}
        answer = await ada.http.post(path, data=form, headers=own)
        assert answer.status_code == 403, path
        assert "was not made for you" in words(answer.text)
    assert acts() == []


async def test_a_token_is_of_one_person_in_one_browser(cell, meet):
    ada = meet()
    first = await ada.token()
    assert await ada.token() == first
    ada.http.headers["x-test-name"] = "eve"  # the same browser, somebody else
    assert await ada.token() != first


async def test_a_form_that_is_too_large_is_refused_before_it_is_read(runs, meet):
    answer = await meet().act("run.cancel", run=runs["listener"], note="x" * MOST_FORM_BYTES)
    assert answer.status_code == 413


async def test_a_console_behind_a_proxy_is_told_what_browsers_call_it(runs, meet):
    ada = meet(origins=["https://ops.example.com"])
    form = {"form_token": await ada.token(), "run": runs["listener"]}
    behind = {"origin": "https://ops.example.com"}
    answer = await ada.http.post("/act/run.cancel", data=form, headers=behind)
    assert answer.status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_not_taken(method, runs, meet):
    answer = await meet().http.request(method, f"/runs/{runs['greet']}")
    assert answer.status_code == 405


async def test_files_outside_static_are_not_served(cell, meet):
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/"):
        assert (await meet().get(path)).status_code in {404, 405}


async def test_a_defect_is_told_without_what_it_was_and_keeps_the_policy(cell, meet, monkeypatch):
    def broken(*_args, **_more):
        raise ZeroDivisionError("secret")

    ada = meet()
    ada.http._transport.raise_app_exceptions = False
    monkeypatch.setattr("troth.view.runs.page", broken)
    answer = await ada.get("/runs")
    assert answer.status_code == 500
    assert answer.headers["content-security-policy"] == POLICY
    assert "secret" not in answer.text
    assert "The console has a defect" in words(answer.text)


async def test_who_is_not_known_sees_nothing(runs, meet):
    stranger = meet()
    del stranger.http.headers["x-test-name"]
    for path in ("/runs", f"/runs/{runs['broken']}", "/live?topic=runs", "/jump?q=x"):
        answer = await stranger.get(path)
        assert answer.status_code == 401
        assert runs["broken"] not in answer.text.replace(path, "")


# Hostile content ------------------------------------------------------------------------------------------------------


async def test_nothing_that_is_shown_is_taken_for_html(cell, meet, acts):
    run, after = in_attention(cell, HOSTILE)
    working = "INSERT INTO {}.worker (name, executes, workflows, lease_s) VALUES (%s, true, %s, 3) RETURNING 1"
    rows(cell, working, HOSTILE, [HOSTILE])
    ada = meet(name="a<b>")
    ada.http.headers["x-test-name"] = "ada <i>& co"
    named = quote(HOSTILE)
    typed = named.removesuffix("%01")  # what a form holds stays as it was typed
    pages = [f"/runs/{run}?view={view}" for view in ("compact", "timeline", "journal")]
    pages += ["/runs", "/runs?workflow=" + HOSTILE.encode().hex(), f"/act/run.cancel?run={run}"]
    pages += [
        f"/act/run.send?run={run}&topic=%3Cscript%3E&value=%3Cscript%3E",
        "/jump?q=%3Cscript%3Ealert(1)",
    ]
    pages += ["/overview", "/attention", f"/attention?workflow={named}&owner={named}", "/effects"]
    pages += [
        f"/effects/{run}?path={named}",
        f"/effects/{after}?path={named}",
        f"/effects/{run}?path=%3Cscript%3E",
    ]
    pages += [
        f"/act/effect.settle?run={run}&path={named}&value={typed}",
        f"/act/effect.probe?run={run}&path={named}",
    ]
    pages += [
        f"/act/attention.claim?run={run}&owner={named}",
        f"/act/attention.note?run={run}&text={named}",
    ]
    pages += [f"/act/run.resume?list=attention&where=workflow%3D{quote(named)}", f"/jump?q={named}"]
    pages += [
        f"/act/run.resume?list={named}&where=x",
        f"/effects?workflow={named}",
        f"/overview?span={named}",
    ]
    pages += ["/runs?key=%22%3E%3Cscript%3E&workflow=%3Cscript%3E&since=2h&parent=%3Cscript%3E"]
    for path in pages:
        page = (await ada.get(path)).text
        require_harmless(page, path)
        assert "<i>" not in page, path
    for told in (
        await ada.act(
            "effect.settle", run=str(run), path=HOSTILE, found="done", value="1", note=HOSTILE
        ),
        await ada.act(
            "effect.settle", run=str(after), path=HOSTILE, found="done", value="1", note=HOSTILE
        ),
        await ada.act("attention.claim", run=str(after), owner=HOSTILE),
        await ada.act("attention.note", run=str(after), text=HOSTILE),
    ):
        assert "<script>" not in told.text
        assert "<img" not in told.text
    shown = await ada.act(
        "payload.show", run=str(run), of="entry", path=HOSTILE, kind="2", attempt="0"
    )
    assert shown.status_code == 200
    assert "<script>" not in shown.text
    assert "49" not in words(shown.text).replace("{{7*7}}", "")


async def test_names_with_slashes_and_dots_lead_to_the_form_of_the_right_step(cell, meet):
    name = "../a/b?c=d&e#f."
    run = park(cell, Journal().done(name, 1), "bug", {"at": "x", "message": "m"})
    page = await meet().text(f"/runs/{run}")
    links = [
        each.replace("&amp;", "&") for each in re.findall(r'href="(/act/run.fork[^"]*)"', page)
    ]
    assert parse_qs(urlsplit(links[0]).query)["from"] == [name]
    assert name in words(await meet().text(links[0]))


async def test_a_viewer_reads_and_does_nothing_more(runs, meet, acts):
    eve = meet("eve", Role.VIEWER)
    page = await eve.text(f"/runs/{runs['broken']}")
    assert "Let it go on" in page
    form = await eve.text(f"/act/run.resume?run={runs['broken']}")
    assert "This needs the role operator; yours is viewer" in words(form)
    by_hand = await eve.act("run.resume", run=runs["broken"])
    assert by_hand.status_code == 403
    assert "eve may not run.resume" in words(by_hand.text).replace("Eve", "eve")
    assert acts() == [("eve", "viewer", "console", "run.resume", runs["broken"], "refused", None)]
    shown = await eve.act("payload.show", run=runs["broken"], of="input")
    assert shown.status_code == 403
    assert (await eve.post("/payload", {"run": runs["broken"], "of": "input"})).status_code == 403


async def test_what_comes_in_and_goes_out_is_not_taken_for_html(cell, meet):
    record, endpoint, message = coming_and_going(cell, HOSTILE)
    ada, name = meet(), quote(HOSTILE, safe="")
    pages = [
        "/requests", f"/requests/{record}", f"/requests?key={name}", "/inbox", f"/inbox?source={name}&type={name}&object={name}",
        f"/inbox?state=quarantined&source={name}", f"/inbox/event?source={name}&event={name}", "/outbox",
        f"/outbox?outbox={name}&destination={name}", f"/outbox?endpoint={endpoint}", "/outbox/endpoints",
        f"/outbox/endpoints?outbox={name}", f"/outbox/messages/{message}", "/machines", f"/machines/machine?machine={name}",
        f"/machines/machine?machine={name}&state={name}", f"/machines/object?machine={name}&id={name}",
        f"/act/inbox.replay?source={name}&event={name}", f"/act/inbox.replay_all?state=quarantined&source={name}",
        f"/act/outbox.endpoint.enable?endpoint={endpoint}", f"/act/outbox.resend_all?endpoint={endpoint}",
    ]  # fmt: skip
    for path in pages:
        answer = await ada.get(path)
        assert answer.status_code in {200, 303}, (path, words(answer.text))
        require_harmless(answer.text, path)
    kept_in = {
        "request": {"id": record, "of": "body"},
        "event": {"source": HOSTILE, "event": HOSTILE, "of": "body"},
        "message": {"message": str(message), "of": "payload"},
        "object": {"machine": HOSTILE, "id": HOSTILE, "seq": "1", "of": "data"},
    }
    for holder, form in kept_in.items():
        shown = await ada.act("payload.show", **{"in": holder}, **form)
        assert shown.status_code == 200, holder
        require_harmless(shown.text, holder)
        whole = await ada.post("/payload", {"in": holder, **form})
        assert re.fullmatch(
            r'attachment; filename="[\w.-]+"', whole.headers["content-disposition"], re.ASCII
        )


async def test_every_screen_takes_a_text_for_a_text(cell, meet):
    screens = world(cell, HOSTILE).screens()
    assert set(screens) == {page.name for page in SCREENS}, (
        "world.py has the addresses of every screen"
    )
    root = meet("root", Role.ADMIN)
    for paths in screens.values():
        for path in paths:
            page = await root.text(path)
            assert 'class="trouble"' not in page, path
            require_harmless(page, path)
