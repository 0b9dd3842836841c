"""
Sleeps in tests that are right, each with the reason why nothing better can be waited for.

Keys are "path::function"; a method is "path::Class.method".
"""

ALLOWED: dict[str, str] = {
    "tests/harness/postgres.py::wait_until": (
        "looks again until a condition of another process holds, with a deadline: the one place"
        " where tests poll what cannot notify them"
    ),
}
