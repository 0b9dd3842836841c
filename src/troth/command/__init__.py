"""Acts of people on runs. Each is one transaction, checked against the run as it stands, and recorded with its author.

The command line and the console have no other way to act.
"""
