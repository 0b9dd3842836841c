"""The journal: what happened, durable before anything follows from it.

`writer` is the group commit; `membership` says who may write; `bell` hurries. The protocol is in the functions of
`store/migrations`, and what it must survive is in docs/internals/protocol.md.
"""
