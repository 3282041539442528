"""Connections by the thousand that never say anything.

``python -m tests.sims.flood COUNT PATH PORT``: in turn to a Unix socket and to a port of 127.0.0.1,
until the standard input ends. Says ``made`` once all are, and for each line of the standard input
how many are still open.
"""

from __future__ import annotations

import resource
import select
import socket
import sys
from contextlib import ExitStack


def main(count: int, path: str, port: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, max(count + 100, hard)))
    ended = select.poll()
    still_open = set()
    with ExitStack() as opened:
        for number in range(count):
            family = socket.AF_INET if number % 2 else socket.AF_UNIX
            link = opened.enter_context(socket.socket(family))
            link.connect(("127.0.0.1", port) if number % 2 else path)  # waits for room in the queue
            ended.register(link, select.POLLIN)  # an end of file, too
            still_open.add(link.fileno())
        print("made", flush=True)
        for _ in sys.stdin:
            for fd, _ in ended.poll(0):
                ended.unregister(fd)
                still_open.discard(fd)
            print(len(still_open), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
