"""The C library's S7 server in a process of its own, told by lines on standard input.

Runs with PYTHONPATH at the old wheel, so that `snap7` is the ctypes binding of libsnap7.
Commands, each answered by one line that begins with ``ok`` or ``error``:

    area AREA NUMBER SIZE        serve an area (DB MK PE PA TM CT) of that many bytes
    drop AREA NUMBER             serve it no more
    write AREA NUMBER AT HEX     bytes into it
    move NUMBER same|ramp|none   what happens to a data block every 50 ms, in one piece:
                                 all its bytes become equal / all its REALs go one step on
    ticks                        how often the moving blocks have moved
    cpu STATUS                   4 STOP, 8 RUN
"""

from __future__ import annotations

import ctypes
import sys
import threading

import numpy as np
from snap7.server import Server
from snap7.type import SrvArea

MOVE_EVERY_S = 0.05


class Plc:
    def __init__(self, port: int) -> None:
        self.server = Server(log=False)
        self.areas: dict[tuple[str, int], ctypes.Array[ctypes.c_uint8]] = {}
        self.moves: dict[int, str] = {}
        self.ticks = 0
        self.ramp = (20 + 0.37 * np.arange(17_250 + 1000)).astype(">f4").tobytes()
        self.lock = threading.Lock()
        self.server.start_to("127.0.0.1", port)

    def area(self, area: str, number: str, size: str) -> str:
        if (area, int(number)) in self.areas:
            self.drop(area, number)
        memory = (ctypes.c_uint8 * int(size))()
        self.areas[area, int(number)] = memory
        self.server.register_area(SrvArea[area], int(number), memory)
        return "ok"

    def drop(self, area: str, number: str) -> str:
        with self.lock:
            self.moves.pop(int(number), None)
        del self.areas[area, int(number)]
        self.server.unregister_area(SrvArea[area], int(number))
        return "ok"

    def write(self, area: str, number: str, at: str, data: str) -> str:
        memory, raw = self.areas[area, int(number)], bytes.fromhex(data)
        if int(at) + len(raw) > len(memory):
            raise ValueError("beyond the end of the area")
        self.put(SrvArea[area], int(number), ctypes.addressof(memory) + int(at), raw)
        return "ok"

    def put(self, area: SrvArea, number: int, where: int, raw: bytes) -> None:
        # the server copies under the same lock, so that no answer is torn by itself
        self.server.lock_area(area, number)
        ctypes.memmove(where, raw, len(raw))
        self.server.unlock_area(area, number)

    def move(self, number: str, how: str) -> str:
        with self.lock:
            self.moves[int(number)] = how
        self.tick()
        return "ok"

    def tick(self) -> None:
        with self.lock:
            k = self.ticks
            for number, how in self.moves.items():
                memory = self.areas["DB", number]
                size = len(memory)
                if how == "same":  # 1 to 126: no byte of an infinity or a NaN
                    raw = bytes((1 + k % 126,)) * size
                elif how == "ramp":
                    raw = self.ramp[4 * (k % 1000) :][:size]
                else:
                    continue
                self.put(SrvArea.DB, number, ctypes.addressof(memory), raw)
            self.ticks += 1

    def obey(self, line: str) -> str:
        name, *words = line.split()
        if name == "ticks":
            return f"ok {self.ticks}"
        if name == "cpu":
            self.server.set_cpu_status(int(words[0]))
            return "ok"
        return str(getattr(self, name)(*words))


def main() -> None:
    plc = Plc(int(sys.argv[1]))
    ended = threading.Event()

    def keep_moving() -> None:
        while not ended.wait(MOVE_EVERY_S):
            plc.tick()

    threading.Thread(target=keep_moving, daemon=True).start()
    print("ok ready", flush=True)
    for line in sys.stdin:
        try:
            print(plc.obey(line), flush=True)
        except Exception as error:
            print(f"error {error!r}", flush=True)
    ended.set()
    plc.server.stop()


if __name__ == "__main__":
    main()
