"""What people, machines and assistants are shown of a verdict.

One *document* (`document`, schema `troth.lab/1`) says everything, as frozen data with secrets left out. It is composed from a verdict
once (`compose`), stored (`shelf`), and everything else is made from it alone, so that a verdict of last month is shown as
one of today: text for a terminal (`terminal`), one HTML file (`page`), text for an assistant that will change the code
(`assistant`). What a scenario asks for is part of it, so a test that was made easier to pass is told apart from code that was
made better (`weaker`).
"""
