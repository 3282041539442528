"""Whether a server that refuses everything is believed: a proxy may say 400 to whatever comes."""

from __future__ import annotations

MAX_BATCHES = 3
MAX_LINES = 2_000
"""After so many batches, or lines, of which nothing was stored, no more become dead letters."""

MAX_PROBES = 16
"""Refusals in a row after which a batch of a server in doubt is tried no further."""


class Doubt:
    """Counts what was refused since the last time that something was stored."""

    def __init__(self) -> None:
        self.batches = 0
        """Batches in a row that were refused whole."""
        self.words = ""
        self._lines = 0
        self._probes = 0

    @property
    def is_in_doubt(self) -> bool:
        """Nothing is given up now on this server's word."""
        return self.batches >= MAX_BATCHES or self._lines >= MAX_LINES

    @property
    def is_enough(self) -> bool:
        """A batch was tried as far as is of use."""
        return self.is_in_doubt and self._probes >= MAX_PROBES

    def begin(self) -> None:
        """A batch is tried."""
        self._probes = 0

    def refused(self, words: str) -> None:
        """Something of it was refused."""
        self._probes += 1
        self.words = words

    def stored(self) -> None:
        """Something was stored, or the words are those of a store that has judged each line."""
        self.batches = self._lines = self._probes = 0

    def give_up(self, lines: int) -> None:
        """A batch was refused whole, and believed: so many lines became dead letters."""
        self.batches += 1
        self._lines += lines
