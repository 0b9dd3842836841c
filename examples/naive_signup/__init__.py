"""One signup, three times: as it is usually written, with the retries of a tutorial, with idempotency keys.

Ordinary FastAPI, sqlite3, httpx and smtplib; nothing here knows troth. `python -m examples.naive_signup` shows what the lab says of each.
"""
