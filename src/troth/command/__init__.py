"""Acts of people on runs. Each is one transaction, checked against the run as it stands, and recorded with its author.

`act` is what may be done to any run in attention, `settle` what may be said of an effect, `rewind` how a run goes back.
`desk` is
the door that they all go through: the command line and the console have no other way to act.
"""
