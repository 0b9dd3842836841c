"""What the clock brings, in the order of time: each happening is one transaction at its own time."""

import logging

from examples.signup.provider.resources import lifecycle, payouts
from examples.signup.provider.session import Session
from examples.signup.provider.store import Store

HAPPENINGS = {
    **lifecycle.HAPPENINGS,
    "available": payouts.available,
    "arrive": payouts.arrive,
}

log = logging.getLogger("provider")


def catch_up(store: Store) -> int:
    """Do all that is due by now. What it brings about is done too, if it is due. Returns how many."""
    done = 0
    while (due := store.next_due()) is not None:
        ident, what, at = due
        try:
            with store.work():
                store.schedule(ident, what, None)
                HAPPENINGS[what](Session(store, at, None, None), ident)
        except Exception:
            log.exception("%s of %s broke; this is a defect of the server", what, ident)
            with store.work():
                store.schedule(ident, what, None)
        done += 1
    return done
