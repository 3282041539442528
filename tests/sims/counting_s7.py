"""The C library's S7 server; every read of DB1 gets the next number in its first DWORD.

``python -m tests.sims.counting_s7 PORT LOG``, with PYTHONPATH at the old wheel. SIGUSR1 brings the
CPU to STOP, SIGUSR2 to RUN.
"""

from __future__ import annotations

import ctypes
import signal
import struct
import sys
from pathlib import Path

from snap7.server import Server
from snap7.type import SrvArea

from tests.sims.counting import NumberLog, wait_for_end

SIZE = 64
STATES = {signal.SIGUSR1: 4, signal.SIGUSR2: 8}
"""The library's numbers of STOP and RUN."""


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
    for number, state in STATES.items():
        signal.signal(number, lambda *_, to=state: server.set_cpu_status(to))
    wait_for_end()
    server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
