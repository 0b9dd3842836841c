"""The signup against a hostile world: real processes that die, and three truths that must agree.

The way of a demo: `stage` starts everything in a directory of its own, `people` sign up over HTTP, `trouble` kills and restarts
at counted moments. Then the `day` ends: in the `evening` credit is paid out, the `post` brings the bank's statements, `hearing`
waits for the provider's events, and workers `reconcile`. `truths` reads what the database, the provider and the mail server have,
and `audit` compares it; `money` does the same for money; `show` tells the reader.
"""
