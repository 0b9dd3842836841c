"""
Sleeps in tests that are right, each with the reason why nothing better can be waited for.

Keys are "path::function"; a method is "path::Class.method".
"""

ALLOWED: dict[str, str] = {
    "tests/harness/postgres.py::wait_until": (
        "looks again until a condition of another process holds, with a deadline: the one place"
        " where tests poll what cannot notify them"
    ),
    **dict.fromkeys(
        (
            "tests/lab/test_arrivals.py::loop_for_ever",
            "tests/lab/test_arrivals.py::pause",
            "tests/lab/worker_loops.py::claim_commit_work",
            "tests/lab/worker_loops.py::done_before_it_is_done",
            "tests/lab/worker_loops.py::work_under_a_lease",
            "tests/lab/worker_loops.py::work_under_a_lease_with_a_key",
            "tests/lab/worker_loops.py::work_in_the_transaction_of_the_claim",
        ),
        "the code under test, a worker's endless loop or one that jitters: under the lab no time passes",
    ),
}
