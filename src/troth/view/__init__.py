"""What there is to see of a cell: read-only models for the command line and the console.

Every read happens inside `reading`: one snapshot, no writes, and an end after a few seconds, whatever was asked. Every
statement has a limit. Finished runs are found by id, which is by time; nothing else of them is indexed, so a filter that
matches little looks at much, and is cut off by the time limit rather than by luck.
"""
