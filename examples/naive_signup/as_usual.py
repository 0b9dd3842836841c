"""A signup as it is usually written: look, insert, call the provider, note the payment, say welcome."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException

from examples.naive_signup.common import PRICE, Signup, connect, stripe, welcome

app = FastAPI()


@app.post("/signup")
def signup(form: Signup) -> dict[str, str]:
    db = connect()
    if db.execute("SELECT 1 FROM users WHERE email = ?", (form.email,)).fetchone():
        raise HTTPException(409, "this address is already registered")
    customer = stripe("customers", {"email": form.email})["id"]
    user = db.execute(
        "INSERT INTO users (email, customer) VALUES (?, ?)", (form.email, customer)
    ).lastrowid
    db.commit()
    charge = stripe("charges", {"customer": customer, "amount": PRICE, "currency": "eur"})["id"]
    db.execute("INSERT INTO payments (user, charge) VALUES (?, ?)", (user, charge))
    db.commit()
    welcome(form.email)
    return {"status": "welcome"}
