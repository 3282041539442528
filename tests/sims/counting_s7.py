"""The C library's S7 server; every read of DB1 gets the next number in its first DWORD.

``python -m tests.sims.counting_s7 PORT LOG``, with PYTHONPATH at the old wheel.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from pathlib import Path

from snap7.server import Server
from snap7.type import SrvArea

from tests.sims.counting import NumberLog, wait_for_end

SIZE = 64


def main(port: int, path: Path) -> None:
    log = NumberLog(path)
    memory = (ctypes.c_char * SIZE)()
    server = Server(log=False)

    def before_read(event: object) -> None:
        # the library calls it in the thread that answers, before it copies the area
        struct.pack_into(">I", memory, 0, log.next())

    server.set_read_events_callback(before_read)
    server.register_area(SrvArea.DB, 1, memory)
    server.start_to("127.0.0.1", port)
    wait_for_end()
    server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
