"""gzip for what is spooled and sent: level 1, by ISA-L where there is one."""

from __future__ import annotations

import zlib
from types import ModuleType

igzip: ModuleType | None
try:
    from isal import igzip
except ImportError:
    igzip = None


def compress(text: bytes) -> bytes:
    """As gzip, level 1: by ISA-L where there is one (a third of zlib's time, and smaller)."""
    if igzip is not None:
        packed: bytes = igzip.compress(text, 1, mtime=0)
        return packed
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(text) + packer.flush()
