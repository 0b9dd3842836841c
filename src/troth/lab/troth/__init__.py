"""The lab on troth workflows: the engine as it is, the database's functions as they are, and everything that may come between.

A worker's life is an attempt (`life`): it joins, takes over whoever was there before, claims, and moves runs by troth's own engine,
writer and performer, until there is nothing to do. What it asks of the database are the functions that its protocol consists of
(`boundary`): one call is one operation, done on a real PostgreSQL once per (world, call) (`server`). So a commit can be lost, done or
not done, between any two of them the process can die, and another can declare it dead while it lives.

A world of troth's tables never comes twice: numbers of workers and claims grow, marks pile up, everything has a time. What of it means
something when nobody is at work, and what is bookkeeping, is `rows`. Time is an action: it passes when every process that lives has gone to
sleep, to the moment at which the first wakes, and not beyond one at which an effect must have landed.

This is the only room of the lab that knows troth. What it does not follow is refused, not left out.
"""
