"""Connections by the thousand that never say anything: ``python -m tests.sims.flood COUNT PATH PORT``.

In turn to a Unix socket and to a port of 127.0.0.1, until the standard input ends.
"""

from __future__ import annotations

import resource
import socket
import sys
from contextlib import ExitStack

from tests.sims.counting import wait_for_end


def main(count: int, path: str, port: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, max(count + 100, hard)))
    with ExitStack() as opened:
        for number in range(count):
            family = socket.AF_INET if number % 2 else socket.AF_UNIX
            link = opened.enter_context(socket.socket(family))
            link.connect(("127.0.0.1", port) if number % 2 else path)  # waits for room in the queue
        wait_for_end()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
