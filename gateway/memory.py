"""How glibc gives memory back: at once where batches are encoded, and never where a stream runs."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Numbers of mallopt(3)."""

BATCHES_FROM = 256 * 1024
"""Without a stream: larger blocks (encoded batches) go back to the system at once; glibc would keep
some MB of them in every thread."""

ARRAYS_UP_TO = 32 * 2**20
"""With a stream: work arrays of a hop stay mapped. Mapped and zeroed anew ten times a second, they
would cost half as much again as computing does. The largest that mallopt takes."""


def tune(*, has_stream: bool) -> None:
    """Set the thresholds of malloc for this process; nothing with another C library."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, ARRAYS_UP_TO if has_stream else BATCHES_FROM)
        if has_stream:
            mallopt(M_TRIM_THRESHOLD, ARRAYS_UP_TO)
        else:
            mallopt(M_ARENA_MAX, 1)  # one for each thread keeps 0.1 MB of free memory in each


def give_back() -> None:
    """Give the free memory below what is in use back to the system, too; under 1 ms, without the
    interpreter's lock. Nothing with another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
