"""Consequences outside the database, and what is known of them.

An effect is never blindly repeated. Before it is sent, an *intent* is durable, with the fence checked in the same
commit; after it, its outcome is *done*, *refused* or *unknown*. Unknown is the default for whatever is not known to be
harmless: a timeout is never recorded as a failure. An effect whose outcome is unknown is sent again only when its
provider dedupes by our key and the key's lifetime has not passed, or when its author chose `at_least_once`. Otherwise
it is *in doubt*: visible, and waiting for a person.

Assumption, stated because nobody can remove it: between the check of `send_by` and the first byte on the wire the
process is not paused for longer than `MARGIN_S`.
"""
