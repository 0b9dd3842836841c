"""The ledger: money that is somewhere, moved by transfers whose two sides are equal, in books that nobody can change.

`model` has the words.
"""
