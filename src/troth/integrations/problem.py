"""Errors over HTTP as RFC 9457 has them, for every framework: `application/problem+json`.

    {"type": "about:blank", "title": "Conflict", "status": 409, "detail": "…", "code": "idempotency_key_in_use"}

*title* is the status in words; *code* tells apart what a program may want to tell apart; *detail* is for people.
"""

from troth.command.request_model import Answer, RequestRefusedError
from troth.command.request_rules import problem, refusal

__all__ = ["Answer", "RequestRefusedError", "problem", "refusal"]
