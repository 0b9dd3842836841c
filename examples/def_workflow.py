"""A `def` workflow: the same steps and the same guarantees, without async. A script starts it and waits for it."""

from datetime import timedelta

from troth import BlockingTx, Call, Refused, Troth, blocking

troth = Troth()


@troth.transaction
def reserve(tx: BlockingTx, seats: int) -> int:
    tx.execute(
        "CREATE TABLE IF NOT EXISTS reservation (id int GENERATED ALWAYS AS IDENTITY, seats int)"
    )
    row = tx.execute(
        "INSERT INTO reservation (seats) VALUES (%s) RETURNING id", (seats,)
    ).fetchone()
    assert row is not None
    return int(row[0])


@reserve.undo
def release(tx: BlockingTx, reservation: int, seats: int) -> None:
    tx.execute("DELETE FROM reservation WHERE id = %s", (reservation,))


@troth.effect(delivery="at_least_once", timeout=10)
def mail_ticket(call: Call, reservation: int, email: str) -> str:
    return f"ticket {reservation} to {email}"


@mail_ticket.undo
def mail_regrets(call: Call, ticket: str, reservation: int, email: str) -> None:
    print(f"sorry: {ticket} is void")


@troth.workflow
def book(email: str, seats: int) -> str:
    reservation = troth.wait(reserve(seats))
    paid = troth.wait(troth.receive("paid", bool, timeout=timedelta(days=3)))
    if not paid:
        raise Refused("not paid in time")  # what was reserved is released
    return troth.wait(mail_ticket(reservation, email))


def main(seats: int) -> str:
    with blocking.client(troth) as client:
        run = client.start(book, "ada@example.com", seats)
        client.send(run, "paid", value=True)
        return run.result(timeout=30)


if __name__ == "__main__":
    print(main(2))
