"""A mail server that misbehaves at one phase of the conversation, on the sockets of `misbehaving`."""

from __future__ import annotations

from collections.abc import Callable

from tests.effect.clients.misbehaving import Behaviour, Exchange

Act = str | Callable[[Exchange], None]  # a reply, or what is done instead of one

POLITE: dict[str, Act] = {
    "greeting": "220 localhost",
    "ehlo": "250-localhost\r\n250 AUTH PLAIN",
    "helo": "250 localhost",
    "auth": "235 welcome",
    "starttls": "454 not now",
    "mail": "250 ok",
    "rcpt": "250 ok",
    "data": "354 go on",
    "message": "250 queued",
    "rset": "250 ok",
    "quit": "221 bye",
}


def drop(exchange: Exchange) -> None:
    exchange.connection.close()


def hang(exchange: Exchange) -> None:
    exchange.hang()


def post_office(**at: Act | list[Act]) -> Behaviour:
    """Polite but for *at*: what is said at a phase; of a list, one after the other."""
    script: dict[str, Act | list[Act]] = POLITE | at

    def say(exchange: Exchange, phase: str) -> None:
        act = script[phase]
        if isinstance(act, list):
            act = act.pop(0)
        if callable(act):
            act(exchange)
        else:
            exchange.send(f"{act}\r\n")

    def behave(exchange: Exchange) -> None:
        say(exchange, "greeting")
        while line := exchange.line():
            phase = line.split()[0].lower()
            say(exchange, phase)
            if phase == "data" and script["data"] == POLITE["data"]:
                while (line := exchange.line()) != ".":
                    if line is None:
                        return
                exchange.server.saw("message")
                say(exchange, "message")

    return behave
