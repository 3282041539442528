"""An independent Modbus server: Debian's libmodbus through ctypes, in a process of its own.

    python -m tests.sims.modbus_peer tcp PORT        Modbus/TCP (0: a free port)
    python -m tests.sims.modbus_peer rtu UNIT...     RTU on a pseudo terminal
    python -m tests.sims.modbus_peer rtu_tcp UNIT... RTU frames over TCP, as a converter passes them

It prints ``ready PLACE`` and then obeys lines on its standard input (see `_Server.obey`). The
serial forms are a line with several drops: each unit is a libmodbus slave on a terminal of its own.
Over TCP every unit answers, but 17 and 18 are not reached by the gateway (exceptions 10 and 11).
Everywhere unit 19 is silent and 20 answers 300 ms late.
"""

from __future__ import annotations

import ctypes as c
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import tty
from typing import Any

import numpy as np

REGISTERS = 10_000
BITS = 4_000
SILENT, LATE = 19, 20
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}


class _Mapping(c.Structure):
    _fields_ = [
        *((name, c.c_int) for name in (
            "nb_bits", "start_bits", "nb_input_bits", "start_input_bits", "nb_input_registers",
            "start_input_registers", "nb_registers", "start_registers",
        )),
        ("coil", c.POINTER(c.c_uint8)), ("discrete", c.POINTER(c.c_uint8)),
        ("input", c.POINTER(c.c_uint16)), ("holding", c.POINTER(c.c_uint16)),
    ]  # fmt: skip


def _library() -> Any:
    library = c.CDLL("libmodbus.so.5", use_errno=True)
    context, text, number = c.c_void_p, c.c_char_p, c.c_int
    for name, result, arguments in (
        ("modbus_new_tcp", context, [text, number]),
        ("modbus_new_rtu", context, [text, number, c.c_char, number, number]),
        ("modbus_mapping_new", context, [number] * 4),
        ("modbus_tcp_listen", number, [context, number]),
        ("modbus_set_socket", number, [context, number]),
        ("modbus_set_slave", number, [context, number]),
        ("modbus_set_response_timeout", number, [context, c.c_uint32, c.c_uint32]),
        ("modbus_set_byte_timeout", number, [context, c.c_uint32, c.c_uint32]),
        ("modbus_connect", number, [context]),
        ("modbus_receive", number, [context, text]),
        ("modbus_reply", number, [context, text, number, context]),
        ("modbus_reply_exception", number, [context, text, c.c_uint]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class _Server:
    def __init__(self) -> None:
        self.lib = _library()
        self.mapping = self.lib.modbus_mapping_new(BITS, BITS, REGISTERS, REGISTERS)
        tables = _Mapping.from_address(self.mapping)
        sizes = {"coil": BITS, "discrete": BITS, "holding": REGISTERS, "input": REGISTERS}
        self.memory = {
            name: np.ctypeslib.as_array(getattr(tables, name), (size,))
            for name, size in sizes.items()
        }
        self.lock = threading.Lock()
        self.still = threading.Event()
        self.reset()

    def reset(self) -> None:
        """As after the start: register n holds n, every third bit is on, nothing is odd."""
        self.still.set()
        self.still = threading.Event()
        with self.lock:
            for name, memory in self.memory.items():
                counting = np.arange(len(memory))
                memory[:] = counting % 3 == 0 if name in ("coil", "discrete") else counting
        self.holes: list[tuple[str, int, int, int]] = []
        self.limit = 0
        self.busy = 0
        self.log: list[tuple[float, int, str, int, int]] = []

    def reply(self, context: Any, query: Any, length: int, head: int) -> None:
        """Answer one request; ``head`` is the offset of the unit in the frame."""
        unit, function = query.raw[head], query.raw[head + 1]
        start, count = (int.from_bytes(query.raw[head + i : head + i + 2], "big") for i in (2, 4))
        table = TABLES.get(function, "?")
        self.log.append((time.monotonic(), unit, table, start, count))
        if unit == SILENT:
            return
        if unit == LATE:
            time.sleep(0.3)
        code = {17: 10, 18: 11}.get(unit, 0) if head else 0
        for name, first, size, its_code in self.holes:
            if name == table and start < first + size and first < start + count:
                code = its_code
        if self.limit and count > self.limit:
            code = 3
        if self.busy:
            self.busy -= 1
            code = 6
        with self.lock:
            if code:
                self.lib.modbus_reply_exception(context, query, code)
            else:
                self.lib.modbus_reply(context, query, length, self.mapping)

    def obey(self, line: str) -> str:
        words = line.split()
        if words[0] == "write":  # write TABLE ADDRESS HEX: big-endian registers, or a byte a bit
            raw = bytes.fromhex("".join(words[3:]))
            memory, start = self.memory[words[1]], int(words[2])
            values = np.frombuffer(raw, ">u2" if memory.itemsize == 2 else "u1")
            with self.lock:
                memory[start : start + len(values)] = values
        elif words[0] == "refuse":  # refuse TABLE START COUNT [EXCEPTION]
            code = int(words[4]) if len(words) > 4 else 2
            self.holes.append((words[1], int(words[2]), int(words[3]), code))
        elif words[0] == "reset":
            self.reset()
        elif words[0] == "limit":  # limit COUNT: longer requests get exception 3
            self.limit = int(words[1])
        elif words[0] == "busy":  # busy COUNT: so many requests get exception 6
            self.busy = int(words[1])
        elif words[0] == "move":  # move TABLE START COUNT MS: all take the same, next number
            arguments = (self.still, words[1], *map(int, words[2:]))
            threading.Thread(target=self._move, args=arguments, daemon=True).start()
        elif words[0] == "log":  # the requests since the last time
            log, self.log = self.log, []
            return json.dumps(log)
        else:
            return f"unknown: {line}"
        return "ok"

    def _move(
        self, still: threading.Event, table: str, start: int, count: int, period_ms: int
    ) -> None:
        number = 0
        while not still.wait(period_ms / 1000):
            number = number % 65535 + 1
            with self.lock:
                self.memory[table][start : start + count] = number

    # -- TCP ----------------------------------------------------------------------------------

    def serve_tcp(self, port: int) -> str:
        if not port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        context = self.lib.modbus_new_tcp(b"127.0.0.1", port)
        listener = socket.socket(fileno=self.lib.modbus_tcp_listen(context, 8))
        threading.Thread(target=self._talk_tcp, args=(context, listener), daemon=True).start()
        return str(port)

    def _talk_tcp(self, context: Any, listener: socket.socket) -> None:
        query = c.create_string_buffer(260)
        opened: dict[int, socket.socket] = {}
        while True:
            for ready in select.select([listener, *opened.values()], [], [])[0]:
                if ready is listener:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    opened[connection.fileno()] = connection
                    continue
                self.lib.modbus_set_socket(context, ready.fileno())
                length = self.lib.modbus_receive(context, query)
                if length < 0:
                    opened.pop(ready.fileno()).close()
                else:
                    self.reply(context, query, length, 6)

    # -- serial -------------------------------------------------------------------------------

    def serve_line(self, units: list[int], over_tcp: bool) -> str:
        drops = []
        for unit in units:
            ours, theirs = _terminal()
            drops.append(ours)
            context = self.lib.modbus_new_rtu(os.ttyname(theirs).encode(), 115200, b"N", 8, 1)
            self.lib.modbus_set_slave(context, unit)
            # how long it waits for another unit's answer before it listens for itself again
            self.lib.modbus_set_response_timeout(context, 0, 30_000)
            self.lib.modbus_set_byte_timeout(context, 0, 5_000)
            if self.lib.modbus_connect(context):
                raise OSError(f"unit {unit}: {os.strerror(c.get_errno())}")
            threading.Thread(target=self._talk_rtu, args=(context,), daemon=True).start()
        if over_tcp:
            listener = socket.create_server(("127.0.0.1", 0))
            place = str(listener.getsockname()[1])
            arguments: tuple[Any, ...] = (drops, -1, listener)
        else:
            master, theirs = _terminal()
            place, arguments = os.ttyname(theirs), (drops, master, None)
        threading.Thread(target=_join, args=arguments, daemon=True).start()
        return place

    def _talk_rtu(self, context: Any) -> None:
        query = c.create_string_buffer(260)
        while True:
            length = self.lib.modbus_receive(context, query)
            if length > 0:
                self.reply(context, query, length, 0)


def _terminal() -> tuple[int, int]:
    """Both ends of a raw pseudo terminal; ours must stay open or it hangs up."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    return ours, theirs


def _join(drops: list[int], master: int, listener: socket.socket | None) -> None:
    """The wire: what one says, all others hear."""
    while True:
        watched = [*drops, *([master] if master >= 0 else []), *([listener] if listener else [])]
        for ready in select.select(watched, [], [])[0]:
            if ready is listener and listener is not None:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if master >= 0:
                    os.close(master)
                master = connection.detach()
                break
            data = os.read(ready, 512)
            if ready == master and not data:
                os.close(master)
                master = -1
                break
            for other in (*drops, master):
                if other not in (ready, -1):
                    os.write(other, data)


class ModbusPeer:
    """The server as a test sees it; a context manager."""

    def __init__(self, *arguments: str | int) -> None:
        # here, so that the process itself starts without the test library
        from tests.support import ROOT, missing

        try:
            c.CDLL("libmodbus.so.5")
        except OSError:
            missing("libmodbus.so.5", "apt-get install libmodbus5")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sims.modbus_peer", *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.place = self._line().removeprefix("ready ")
        """TCP port or path of the terminal."""

    @property
    def port(self) -> int:
        return int(self.place)

    def __enter__(self) -> ModbusPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the peer has ended with code {self._process.wait()}")
        return line.rstrip("\n")

    def tell(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._line()

    def write(self, table: str, address: int, raw: bytes) -> None:
        """Registers as big-endian bytes, or one byte for each bit."""
        assert self.tell(f"write {table} {address} {raw.hex()}") == "ok"

    def log(self) -> list[tuple[float, int, str, int, int]]:
        """(monotonic time, unit, table, start, count) of the requests since the last call."""
        return [tuple(entry) for entry in json.loads(self.tell("log"))]

    def close(self) -> None:
        """End it by its own pid; idempotent."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def main(arguments: list[str]) -> None:
    server = _Server()
    kind, numbers = arguments[0], [int(a) for a in arguments[1:]]
    if kind == "tcp":
        place = server.serve_tcp(numbers[0] if numbers else 0)
    else:
        place = server.serve_line(numbers, over_tcp=kind == "rtu_tcp")
    print(f"ready {place}", flush=True)
    for line in sys.stdin:
        print(server.obey(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
