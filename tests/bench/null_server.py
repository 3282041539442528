"""A write API that takes everything and keeps nothing: `python -m tests.bench.null_server`.

So that a figure is that of the sender: VictoriaMetrics takes some 0.8 million values/s here.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import ROOT

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


def serve(connection: socket.socket) -> None:
    """Answer each request of one connection."""
    waste = bytearray(1 << 20)
    with connection:
        head = b""
        while True:
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            lines, _, body = head.partition(b"\r\n\r\n")
            found = re.search(rb"content-length: *(\d+)", lines, re.IGNORECASE)
            left = int(found[1]) - len(body) if found else 0
            while left > 0:
                left -= connection.recv_into(waste, min(left, len(waste)))
            head = b""
            connection.sendall(ANSWER)


@contextmanager
def null_server() -> Iterator[str]:
    """Its address, while it runs in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.null_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
