"""Consequences outside the database, and what is known of them.

An effect is never blindly repeated. Before it is sent, an *intent* is durable, with the fence checked in the same
commit; after it, its outcome is *done*, *refused* or *unknown*. Unknown is the default for whatever is not known to be
harmless: a timeout is never recorded as a failure. An effect whose outcome is unknown is sent again when its provider
dedupes by our key and the key's lifetime has not passed. Otherwise it is probed: *found* counts at once, *missing* when
nothing can land any more. If that does not settle it, it is sent again if its author chose `at_least_once`, and else it
is *in doubt*: visible, and waiting for a person. `rules` decides, `clients` says what an exception means, and `traffic`
when a provider that is limited may be called.

Assumptions, stated because nobody can remove them: between the check of `send_by` and the first byte on the wire the
process is not paused for longer than `MARGIN_S`, clocks of workers differ by no more than that, and what a provider's
author says of `lands_within` is true.
"""
