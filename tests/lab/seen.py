"""What handlers saw while the lab explored them. A pipe, because what a process remembers is part of what is explored."""

from __future__ import annotations

import os
from typing import Self


class Seen:
    """Lines that a handler has noted, in this process or in another."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def note(self, line: str) -> None:
        """One line."""
        os.write(self._writer, f"{line}\n".encode())

    def lines(self) -> list[str]:
        """All so far."""
        os.write(self._writer, b"\n")
        found = b""
        while not found.endswith(b"\n\n") and found != b"\n":
            found += os.read(self._reader, 65536)
        return found.decode().splitlines()[:-1]
