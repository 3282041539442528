"""Our driver in a process of its own, told by JSON lines; the fake runtime is in it, if anywhere.

Commands, each answered by one line:

    ["make", CHANNELS, SETTINGS]   build the driver
    ["connect"] ["close"]          "ok", or {"lost": reason, "detail": text}
    ["read", N]                    N blocks: [{first, samples, gap, exact, rate_hz}...] or lost
    ["stream", SECONDS]            read so many seconds and compare every sample; took_s is the
                                   time since "connect", for the sample clock runs from there
    ["interrupt"]                  free a read that waits; why it says that it ended
    ["status"]                     what the driver says of itself
    ["runtime", FUNCTION, ...]     call a function of the fake runtime (`nidaqmx_fake.c`)
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time
from typing import Any

from drivers.nidaq import NidaqDriver
from gateway.errors import DeviceUnavailable
from tests.drivers.nidaq_support import is_exact, make
from tests.support import until


class Host:
    def __init__(self) -> None:
        self.driver: NidaqDriver = make({})
        self.runtime: Any = None
        self.connecting = 0.0

    def make(self, channels: dict[str, Any], settings: dict[str, Any]) -> str:
        self.driver.close()
        self.driver = make(channels, **settings)
        return "ok"

    def connect(self) -> str:
        self.connecting = time.monotonic()
        self.driver.connect()
        return "ok"

    def close(self) -> str:
        self.driver.close()
        return "ok"

    def status(self) -> dict[str, Any]:
        return self.driver.status()

    def read(self, count: int) -> list[dict[str, Any]]:
        found = []
        for _ in range(count):
            block = self.driver.read_block()
            found.append(
                {
                    "first": block.first,
                    "samples": block.samples,
                    "gap": block.gap,
                    "rate_hz": block.rate_hz,
                    "exact": is_exact(self.driver, block),
                }
            )
        return found

    def stream(self, seconds: float) -> dict[str, Any]:
        wanted = round(seconds * self.driver.stream.rate_hz)
        cpu = time.process_time()
        samples = blocks = wrong = gaps = 0
        next_ = -1
        while samples < wanted:
            block = self.driver.read_block()
            gaps += block.gap is not None or next_ not in (-1, block.first)
            next_ = block.first + block.samples
            wrong += not is_exact(self.driver, block)
            samples += block.samples
            blocks += 1
        return {
            "samples": samples,
            "blocks": blocks,
            "wrong": wrong,
            "gaps": gaps,
            "took_s": time.monotonic() - self.connecting,
            "cpu_s": time.process_time() - cpu,
        }

    def interrupt(self) -> str:
        found: list[str] = []

        def read() -> None:
            try:
                self.driver.read_block()
            except DeviceUnavailable as error:
                found.append(error.reason)

        before = self.runtime_call("fake_reads")
        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: self.runtime_call("fake_reads") > before)
        self.driver.interrupt()
        reader.join(5.0)
        return found[0] if found else "it still waits"

    def runtime_call(self, function: str, *words: Any) -> Any:
        if self.runtime is None:
            self.runtime = ctypes.CDLL("libnidaqmx.so.1")
            self.runtime.fake_fail.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int]
            self.runtime.fake_limit.argtypes = [ctypes.c_int64]
            self.runtime.fake_skip.argtypes = [ctypes.c_double]
            self.runtime.fake_factor.argtypes = [ctypes.c_double]
            self.runtime.fake_configured.restype = ctypes.c_char_p
        given = [w.encode() if isinstance(w, str) else w for w in words]
        found = getattr(self.runtime, function)(*given)
        return found.decode() if isinstance(found, bytes) else found

    def obey(self, name: str, *words: Any) -> Any:
        try:
            return getattr(self, "runtime_call" if name == "runtime" else name)(*words)
        except DeviceUnavailable as error:
            return {"lost": error.reason, "detail": error.detail}


def main() -> None:
    host = Host()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(host.obey(*json.loads(line))), flush=True)
    host.driver.close()


if __name__ == "__main__":
    main()
