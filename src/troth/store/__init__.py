"""The floor that everything durable stands on: PostgreSQL, reached through psycopg and nothing else.

`connect` finds the database and opens connections and pools; `embedded` is a server of the
project's own for laptops and tests; `migrate` brings a schema up to date and refuses to work with
one that is not; `tx` is what a transaction step is given; `queries` loads named statements.

Nothing is imported here: psycopg alone costs a command line 150 ms.
"""
