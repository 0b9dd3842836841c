"""What is asked about a finding while the world is still at hand: all of it in memory, on the tables that the search has filled.

* `calm`: what happens when nothing fails any more. Everything else is built on it.
* `twin`: which faults are needed, and the same history without one of them, which is fine.
* `consequences`: the map of steps × faults.
* `trace`, `evidence`: a history as plain events, and which classes of remedies it speaks for, by the rules in `calls`, `rows` and
  `answers`. Pure.
* `remedies`: each proposal is put into the model (`varied`) and the search is made again, so that what is proposed was tried.

Nothing here can change a verdict. What would take too long is left out, and says so.
"""
