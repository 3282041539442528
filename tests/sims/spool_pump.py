"""A process that spools numbered batches as fast as it can and prints what is on disk.

``python -m tests.sims.spool_pump FOLDER FIRST``: to be killed at any moment.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from gateway.spool import Spool, SpoolConfig
from gateway.spool.manifest import Span
from gateway.spool.segment import Stored


def main(folder: Path, number: int) -> None:
    spool = Spool(folder, SpoolConfig(), "sink", print, segment_bytes=200_000)
    spool.open()
    while True:
        body = random.Random(number).randbytes(5000)
        spool.put("data", [Stored(body, "lp", 1, 1, (Span("d", "t", 1, number, number),))])
        print(number, flush=True)
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
