"""What is there to see: read-only models for the command line and the console."""
