"""How each act is done in a browser: where its button is, what is filled in, what the console says then.

A scene is made in a cell of its own test, with what the act is about; the names are those of the desk's table of acts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.cli.parked import Journal, in_doubt, park
from tests.console import kept
from tests.console.conftest import rows
from tests.console.furnished import Cell, difference, insert, schedule
from troth.command.acts import ACTS
from troth.console.deeds import DEEDS

BUG = {"at": "x", "message": "it broke"}
BIG = 12345678901234567890123


@dataclass(frozen=True, slots=True)
class Scene:
    """*path*: the page; *within*: the part of it that has *link*, which opens the form; *more*: behind its dots.

    *before*: labels of fields of the page and what goes in, *fill*: of the form; True ticks, an option is chosen by its
    words. *button*: does it. *said*: what the console answers. *about*: of which object the desk has a record then.
    """

    path: str
    link: str
    button: str
    said: str
    about: str
    fill: Mapping[str, str | bool] = field(default_factory=dict)
    before: Mapping[str, str | bool] = field(default_factory=dict)
    within: str = "main"
    more: bool = False
    who: str = "ada-OPERATOR"


def _parked(cell: Cell, **more: object) -> str:
    journal = Journal().done("first", 1).done("second", 2)
    run = park(cell, journal, "bug", BUG, **more)
    return str(run)


def _doubtful(cell: Cell) -> str:
    run = park(cell, Journal().sent("refund").lost("refund"), "in_doubt", in_doubt())
    return str(run)


# Runs -----------------------------------------------------------------------------------------------------------------


def _cancel(cell: Cell) -> Scene:
    run = _parked(cell)
    return Scene(f"/runs/{run}", "Cancel…", "Cancel the run", "The run is asked to stop", run)


def _resume(cell: Cell) -> Scene:
    run = _parked(cell)
    fill = {"What you have mended": "4f2a91c"}
    return Scene(f"/runs/{run}", "Let it go on…", "Let it go on", "The run is ready", run, fill)


def _send(cell: Cell) -> Scene:
    run = _parked(cell)
    fill = {"Topic": "go", "Value": f'{{"n": {BIG}}}', "Key": "once"}
    said = "The run has a message of go"
    return Scene(f"/runs/{run}", "Send a message…", "Send it", said, run, fill)


def _rewind(cell: Cell) -> Scene:
    run = _parked(cell)
    fill = {"Run steps and transactions once more": True}
    said = "goes on from before second"
    return Scene(
        f"/runs/{run}",
        "Go back to here…",
        "Go back",
        said,
        run,
        fill,
        within="#s-second",
        more=True,
    )


def _fork(cell: Cell) -> Scene:
    run = _parked(cell)
    said = "goes on from before second"
    return Scene(
        f"/runs/{run}",
        "Fork from here…",
        "Start the fork",
        said,
        run,
        within="#s-second",
        more=True,
    )


def _cancel_all(cell: Cell) -> Scene:
    run = _parked(cell, workflow="bulk")
    _parked(cell, workflow="bulk")
    link, button = "Cancel all that are alive…", "Cancel a run: 2"
    return Scene("/runs?workflow=bulk", link, button, "Cancel a run: done for 2 runs", run)


def _show(cell: Cell) -> Scene:
    run = _parked(cell)
    return Scene(f"/runs/{run}", "", "Show input", "Download", run)


# Effects --------------------------------------------------------------------------------------------------------------


def _settle(cell: Cell) -> Scene:
    run = _doubtful(cell)
    fill = {
        "What did you find out?": "It happened; its result is below",
        "Its result, if it happened": str(BIG),
        "How do you know?": "in the dashboard",
    }
    path = f"/effects/{run}?path=refund"
    return Scene(path, "Settle…", "Settle it", "Settled by ada", run, fill)


def _probe(cell: Cell) -> Scene:
    run = _doubtful(cell)
    path = f"/effects/{run}?path=refund"
    said = "A worker is to ask once more about refund"
    return Scene(path, "Ask once more…", "Have it asked", said, run)


# Attention ------------------------------------------------------------------------------------------------------------


def _claim(cell: Cell) -> Scene:
    run = _parked(cell)
    return Scene("/attention", "Look after it…", "Say so", "ada looks after the run", run)


def _note(cell: Cell) -> Scene:
    run = _parked(cell)
    fill = {"What others should know": "the bank is asked"}
    return Scene(
        "/attention", "Note…", "Note it", "Noted.", run, fill, within=f"#a-{run}", more=True
    )


# Events in and out ----------------------------------------------------------------------------------------------------


def _replay(cell: Cell) -> Scene:
    path = f"/inbox/event?source=stripe&event={kept.event(cell)}"
    return Scene(path, "Put it back…", "Put it back", "The event is put back", "evt_1")


def _replay_all(cell: Cell) -> Scene:
    kept.event(cell, "evt_1")
    kept.event(cell, "evt_2")
    said = "2 events that were quarantined are put back"
    path = "/inbox?state=quarantined"
    return Scene(path, "Put all back…", "Put them back: 2", said, "quarantined")


def _resend(cell: Cell) -> Scene:
    message = kept.message(cell, kept.endpoint(cell))
    path = f"/outbox/messages/{message}"
    return Scene(path, "Send it again…", "Send it again", "One delivery is due now", str(message))


def _resend_all(cell: Cell) -> Scene:
    endpoint = kept.endpoint(cell)
    kept.message(cell, endpoint)
    link, button = "Send dead letters again…", "Send them again: 1"
    path = f"/outbox?endpoint={endpoint}"
    return Scene(path, link, button, "One delivery is due now", "dead letters")


def _enable(cell: Cell) -> Scene:
    endpoint = kept.endpoint(cell, disabled_at="2026-11-24")
    path = f"/outbox?endpoint={endpoint}"
    return Scene(path, "Enable…", "Enable the endpoint", "The endpoint is enabled", str(endpoint))


def _disable(cell: Cell) -> Scene:
    endpoint = kept.endpoint(cell)
    said = "The endpoint is disabled"
    return Scene("/outbox/endpoints", "Disable…", "Disable the endpoint", said, str(endpoint))


# Schedules ------------------------------------------------------------------------------------------------------------


def _pause(cell: Cell) -> Scene:
    path = f"/schedule?name={schedule(cell, 'nightly')}"
    fill = {"Why, for those who wonder": "the warehouse moves"}
    return Scene(path, "Pause…", "Pause it", "nightly is paused", "nightly", fill)


def _unpause(cell: Cell) -> Scene:
    path = f"/schedule?name={schedule(cell, 'nightly', paused_at='2026-11-01', paused_by='bob')}"
    return Scene(path, "Let it go on…", "Let it go on", "nightly goes on", "nightly")


def _fire(cell: Cell) -> Scene:
    path = f"/schedule?name={schedule(cell, 'nightly')}"
    return Scene(path, "Fire it now…", "Fire it once", "nightly will be fired", "nightly")


def _backfill(cell: Cell) -> Scene:
    path = f"/schedule?name={schedule(cell, 'nightly', tz='UTC')}"
    before = {"From": "2026-11-02", "Until": "2026-11-13"}
    said, button = "nightly will be fired for 9 times", "Fire for all of them"
    return Scene(path, "Look at the times…", button, said, "nightly", before=before)


# Reconciliation -------------------------------------------------------------------------------------------------------


def _accept(cell: Cell) -> Scene:
    made = str(difference(cell))
    fill = {"Until when": "30d", "Why: whoever closes the period reads it": "they refund it"}
    said = f"Break {made} is explained until then"
    return Scene(f"/break?number={made}", "Explain it…", "Accept it", said, made, fill)


def _reopen(cell: Cell) -> Scene:
    explained = {"until": "2126-01-01", "explained_by": "bob", "explanation": "they refund it"}
    made = str(difference(cell, state="accepted", **explained))
    path, said = f"/break?number={made}", f"Break {made} is open"
    return Scene(path, "Open it again…", "Open it again", said, made)


def _own(cell: Cell) -> Scene:
    made = str(difference(cell))
    fill = {"Who looks after it": "bob"}
    path = f"/break?number={made}"
    return Scene(path, "Look after it…", "Say so", "bob looks after it", made, fill)


def _book(cell: Cell) -> Scene:
    made = str(difference(cell))
    fill = {"How you know, for the record": "their receipt"}
    said = f"Break {made} is booked by the next worker that can"
    return Scene(f"/break?number={made}", "Do what is proposed…", "Do it", said, made, fill)


# The desk -------------------------------------------------------------------------------------------------------------


def _rule(_cell: Cell) -> Scene:
    said = "run.cancel needs two people from now on"
    return Scene(
        "/audit/rules", "Two people…", "Make it the rule", said, "run.cancel",
        within="tr[id='k-run.cancel']", who="root-ADMIN",
    )  # fmt: skip


def _withdraw(cell: Cell) -> Scene:
    waits = {"content": b"\x00", "details": b"{}", "until": "2126-01-01", "by": "ada", "about": "x"}
    insert(cell, "act_proposal", act="run.cancel", **waits)
    made = str(rows(cell, "SELECT id FROM {}.act_proposal")[0][0])
    said = f"Proposal {made} is withdrawn"
    return Scene("/audit/waiting", "Withdraw…", "Take it back", said, made)


SCENES: Mapping[str, Callable[[Cell], Scene]] = {
    "run.cancel": _cancel,
    "run.cancel, all that match": _cancel_all,
    "run.resume": _resume,
    "run.send": _send,
    "run.rewind": _rewind,
    "run.fork": _fork,
    "payload.show": _show,
    "effect.settle": _settle,
    "effect.probe": _probe,
    "attention.claim": _claim,
    "attention.note": _note,
    "inbox.replay": _replay,
    "inbox.replay_all": _replay_all,
    "outbox.resend": _resend,
    "outbox.resend_all": _resend_all,
    "outbox.endpoint.enable": _enable,
    "outbox.endpoint.disable": _disable,
    "schedule.pause": _pause,
    "schedule.resume": _unpause,
    "schedule.run": _fire,
    "schedule.backfill": _backfill,
    "reconcile.accept": _accept,
    "reconcile.reopen": _reopen,
    "reconcile.own": _own,
    "reconcile.settle": _book,
    "act.rule": _rule,
    "act.withdraw": _withdraw,
}

# Acts that the command line does and the console does not: it shows who did them, and has no form.
WITHOUT_FORM = sorted(set(ACTS) - set(DEEDS))
