"""Many counting Modbus machines in a process: ``python -m tests.sims.counting_many PORT LOG...``"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.sims.counting import wait_for_end
from tests.sims.counting_modbus import CountingServer


def main(arguments: list[str]) -> None:
    servers = []
    for port, path in zip(arguments[::2], arguments[1::2], strict=True):
        server = CountingServer(Path(path))
        server.serve_tcp(int(port))
        servers.append(server)
    wait_for_end()


if __name__ == "__main__":
    main(sys.argv[1:])
