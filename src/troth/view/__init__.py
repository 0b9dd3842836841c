"""What there is to see of a cell: read-only models for the command line and the console.

A screen is a file: frozen lines and stories, the filter of its list, and functions that read them in a transaction; its
statements are in a file of the same name. Every read happens inside `reading`: one snapshot, no writes, and an end after a
few seconds, whatever was asked.

What is shown costs the same however much there is. A list is read by an index from where its page before ended, never from
its beginning (`paging.Page`). What no index answers looks at `SCAN_LIMIT` rows and says that it did; the next page looks
further. Counts end at a cap, and show it. Of payloads the first 64 KiB are read, and only if somebody asks for them. Ages
and durations are made by the database, since two clocks make negative ones. A filter is one definition for a URL, for the
flags of a command and for the parameters of a statement (`filters.Criteria`).

`doctor` judges what `installation` has read: a table of rules, each with what it means and what to do.
"""
