"""A paid invoice is told to a customer's endpoint, which fails at first: one commit, one event, in order per invoice."""

import asyncio
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import ClassVar

import psycopg
from standardwebhooks import Webhook

from troth import Troth
from troth.integrations.webhooks_out import Webhooks
from troth.outbox import Outbox
from troth.store.connect import Database

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
events = troth.include(
    Outbox("events", destinations=[Webhooks(allow_http=True, schedule=(0, 1, 5, 60))])
)


async def pay(tx: psycopg.AsyncConnection, invoice: str) -> None:
    async with tx.transaction():  # your rows and the event commit together, or neither does
        await tx.execute("INSERT INTO invoice_paid (id) VALUES (%s)", (invoice,))
        await events.publish(tx, "invoice.paid", {"id": invoice}, key=invoice)


class Customer(BaseHTTPRequestHandler):
    """The other side: verifies, remembers ids, and is broken the first time."""

    secret = ""
    calls = 0
    seen: ClassVar[set[str]] = set()
    verified = Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        event = Webhook(Customer.secret).verify(body, dict(self.headers))
        Customer.calls += 1
        if Customer.calls == 1:
            print("the customer is broken", flush=True)
            self.send_response(500)
        else:
            new = self.headers["webhook-id"] not in Customer.seen  # it may come twice
            Customer.seen.add(self.headers["webhook-id"])
            print(event["type"], event["data"], "new" if new else "seen before", flush=True)
            self.send_response(204)
            Customer.verified.set()
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


async def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Customer)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/hook"
    async with troth.worker():
        with Database.find() as database:
            async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as tx:
                await tx.execute("CREATE TABLE IF NOT EXISTS invoice_paid (id text PRIMARY KEY)")
                endpoint, Customer.secret = await events.endpoints.add(
                    tx, url, types=["invoice.*"], allow_private=True
                )
                await pay(tx, "in_1")
                await asyncio.to_thread(Customer.verified.wait)
                await events.endpoints.remove(tx, endpoint, by="the example")


if __name__ == "__main__":
    asyncio.run(main())
