"""The same with idempotency keys that are names: of the user, not of the attempt."""

from __future__ import annotations

from fastapi import FastAPI

from examples.naive_signup.common import PRICE, Signup, connect, stripe, welcome

app = FastAPI()


@app.post("/signup")
def signup(form: Signup) -> dict[str, str]:
    db = connect()
    db.execute("INSERT INTO users (email) VALUES (?) ON CONFLICT DO NOTHING", (form.email,))
    db.commit()
    user = db.execute("SELECT * FROM users WHERE email = ?", (form.email,)).fetchone()
    customer = user["customer"]
    if customer is None:
        customer = stripe("customers", {"email": form.email}, key=f"customer-{user['id']}")["id"]
        db.execute("UPDATE users SET customer = ? WHERE id = ?", (customer, user["id"]))
        db.commit()
    if db.execute("SELECT 1 FROM payments WHERE user = ?", (user["id"],)).fetchone() is None:
        fields = {"customer": customer, "amount": PRICE, "currency": "eur"}
        charge = stripe("charges", fields, key=f"charge-{user['id']}")["id"]
        db.execute("INSERT INTO payments (user, charge) VALUES (?, ?)", (user["id"], charge))
        db.commit()
    welcome(form.email)
    return {"status": "welcome"}
