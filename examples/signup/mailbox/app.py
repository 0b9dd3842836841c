"""The two faces of the mailbox: SMTP for senders, HTTP for whoever wants to know."""

import asyncio
import json
from urllib.parse import parse_qs

from aiosmtpd.smtp import SMTP, Envelope, Session

from examples.signup.mailbox.store import Store, read_message
from examples.signup.outside.faults import Faults, RuleError
from examples.signup.outside.serving import Receive, Scope, Send, read_body, respond

KINDS = ("reject_before", "hang_after", "reject_after", "drop_after")
"""`_before`: nothing is stored. `_after`: the message is stored; the sender does not hear so."""

ACCEPTED = "250 OK"
REJECTED = "451 Requested action aborted: local error in processing"


class Handler:
    """What aiosmtpd calls when a message is complete."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    async def handle_DATA(  # noqa: N802 (aiosmtpd calls it by this name)
        self,
        server: SMTP,
        session: Session,  # noqa: ARG002 (aiosmtpd passes it)
        envelope: Envelope,
    ) -> str:
        content = envelope.content
        raw = content.encode() if isinstance(content, str) else content or b""
        to = tuple(envelope.rcpt_tos)
        message = read_message(envelope.mail_from or "", to, raw)
        rule = self._faults.draw({"to": " ".join(to), "subject": message.subject})
        fault = rule.kind if rule else None
        if fault == "reject_before":
            return REJECTED
        self._store.add(message)
        match fault:
            case "reject_after":
                return REJECTED
            case "hang_after":
                return await forever()
            case "drop_after":
                assert isinstance(server.transport, asyncio.Transport)
                server.transport.abort()
                return await forever()
            case _:
                return ACCEPTED


async def forever() -> str:
    """Wait for what aiosmtpd does to a handler whose client is gone: it is cancelled."""
    await asyncio.Event().wait()
    raise AssertionError("never set")


class Api:
    """`GET /messages`, `GET /messages?to=`, `DELETE /messages`, and the fault rules."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if body is None:
            return
        query = parse_qs(scope["query_string"].decode())
        status, shown = self._answer(scope["method"], scope["path"], query, body)
        await respond(send, status, json.dumps(shown).encode())

    def _answer(
        self, method: str, path: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, object]:
        try:
            match method, path:
                case "GET", "/messages":
                    shown: object = self._store.messages(query.get("to", [None])[0])
                case "DELETE", "/messages":
                    shown = {"deleted": self._store.clear()}
                case "GET", "/_faults":
                    shown = self._faults.show()
                case "POST", "/_faults":
                    shown = [rule.show() for rule in self._faults.add(json.loads(body))]
                case "DELETE", "/_faults":
                    self._faults.clear()
                    shown = []
                case _:
                    return 404, {"error": f"no {method} {path}; see /messages and /_faults"}
        except (RuleError, ValueError) as error:
            return 400, {"error": str(error)}
        return 200, shown
