"""A process that spools one batch for each number on its input, and answers when it is on disk.

``python -m tests.sims.spool_steps FOLDER``: below a disk that fails when the test says so.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from gateway.spool import Spool, SpoolConfig
from gateway.spool.manifest import Span
from gateway.spool.segment import Stored


def main(folder: Path) -> None:
    """Until the end of the input."""
    spool = Spool(folder, SpoolConfig(), "sink", print)
    spool.open()
    for line in sys.stdin:
        number = int(line)
        body = random.Random(number).randbytes(1000)
        spool.put("data", [Stored(body, "lp", 1, 3, (Span("d", "t", 1, number, number),))])
        print(number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
