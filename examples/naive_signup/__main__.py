"""Show what the lab says of the three versions."""

from __future__ import annotations

from examples.naive_signup.scenario import VERSIONS, describe
from troth.lab import Lab

for title, version in VERSIONS.items():
    lab = Lab(title)
    describe(lab, *version)
    print(lab.explore(), end="\n\n")
