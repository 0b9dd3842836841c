"""The signup against a hostile world: real processes that die, and three truths that must agree.

The way of a demo: `stage` starts everything in a directory of its own, `people` sign up over HTTP,
`trouble` kills and restarts at counted moments, `truths` reads what the database, the provider and
the mailbox have, `audit` compares it, `show` tells the reader.
"""
