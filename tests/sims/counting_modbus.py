"""libmodbus; every request is answered with the next number in holding registers 0 and 1.

``python -m tests.sims.counting_modbus PORT LOG``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.sims.counting import NumberLog, wait_for_end
from tests.sims.modbus_peer import _Server


class CountingServer(_Server):
    """One number for each request, whatever it asks for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.numbers = NumberLog(path)

    def reply(self, context: Any, query: Any, length: int, head: int) -> None:
        number = self.numbers.next()
        with self.lock:
            self.memory["holding"][:2] = divmod(number, 65536)
        super().reply(context, query, length, head)
        self.log.clear()


def main(port: int, path: Path) -> None:
    CountingServer(path).serve_tcp(port)
    wait_for_end()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
