"""The pages: HTML from the server, that works without scripts."""
