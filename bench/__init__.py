"""Benchmarks: troth beside its peers, on the same PostgreSQL, in one invocation.

`python -m bench` runs interleaved rounds, each system in a process of its own, and writes medians and ratios. The
machines are shared and noisy: absolute figures do not travel, ratios within a row do.
"""
