"""A nightly job: 5,000 accounts are closed for the day, each in a run of its own."""
