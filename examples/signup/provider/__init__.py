"""A small payment provider that speaks Stripe's API, in a process of its own.

It keeps its own truth in one SQLite file, dedupes by `Idempotency-Key` the way Stripe's v1 API does,
and misbehaves on request. Its client is the official `stripe` SDK.

The way of one request: `app` (faults, authentication, routing) -> `form` (parameters) ->
`idempotency` (run, replay or refuse) -> one transaction of `store`: the resource's handler, the saved
answer, the count -> the answer, or what a fault makes of it.

The way of an event: `session` writes it and its deliveries in the transaction of the change ->
`deliveries` draws what becomes of each (`fates`), signs and sends them. The way of time: `agenda` takes what
is due by the provider's clock, in order -> `resources.lifecycle`, by the table in `resources.states`.
"""
