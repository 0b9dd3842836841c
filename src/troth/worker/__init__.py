"""Processes: joining and leaving a cell, claiming runs, taking over from the dead."""
