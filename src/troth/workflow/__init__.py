"""Workflows: definitions, replay, and the engine that moves runs forward.

A run is a function that is executed again from its journal: `runloop` makes that deterministic, `run` replays,
`engine` records, `perform`, `transact` and `effects` run the bodies of steps, `saga` undoes, and `rewind` lets a
corrected run go on from an earlier step.
"""
