"""A mail server in a process of its own: it keeps what it receives, and misbehaves on request.

SMTP has no idempotency key and no way to ask. A message that was accepted and whose answer was lost
looks to the sender exactly like one that never arrived; this server makes that happen at will, and
its HTTP API shows the truth.
"""
