"""An NI gRPC Device Server in a process of its own, told by JSON lines on standard input.

Commands, each answered by one line:

    ["fail", WHERE, CODE, TIMES]  the next calls of that kind (create, channel, start, read) fail
    ["limit", SAMPLES]            no more samples than that since the start; -1: no limit
    ["skip", SECONDS]             the sample clock runs that much ahead
    ["factor", BY]                the clock's real rate is the wanted one times this
    ["withhold", TRUE]            a part of a block is told, and not sent
    ["tasks"]                     names of the tasks that there are
    ["reads"]                     how many reads have begun
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers.nidaq import vendor
from drivers.nidaq.server import DeviceServer, Served, ServedTask, Service
from gateway.model import Array


def exact(served: Served, first: int, count: int, rate_hz: float) -> Array:
    return 8.0 * (np.arange(first, first + count) + 1) + int(served.address[-1])


@dataclass(eq=False)
class LimitedTask(ServedTask):
    service: Any = None

    def acquired(self) -> int:
        found, limit = super().acquired(), self.service.limit_at
        return found if limit < 0 else min(found, limit)


class FaultyService(Service):
    def __init__(self) -> None:
        inputs = set(range(8))
        super().__init__({"cDAQ1Mod1": inputs, "cDAQ1Mod2": inputs}, exact)
        self.limit_at = -1
        self.by = 1.0
        self.withheld = False
        self.failing = ("", 0, 0)
        self.reads = 0

    def new_task(self, name: str) -> ServedTask:
        return LimitedTask(name, service=self)

    def coerced(self, rate_hz: float) -> float:
        return rate_hz * self.by

    def inject(self, where: str, context: Any) -> None:
        wanted, code, times = self.failing
        if wanted == where and times > 0:
            self.failing = (wanted, code, times - 1)
            self.fail(context, code)

    def CreateTask(self, request: Any, context: Any) -> Any:
        self.inject("create", context)
        return super().CreateTask(request, context)

    def CreateAIAccelChan(self, request: Any, context: Any) -> Any:
        self.inject("channel", context)
        return super().CreateAIAccelChan(request, context)

    def StartTask(self, request: Any, context: Any) -> Any:
        self.inject("start", context)
        return super().StartTask(request, context)

    def ReadAnalogF64(self, request: Any, context: Any) -> Any:
        self.reads += 1
        self.inject("read", context)
        answer = super().ReadAnalogF64(request, context)
        if self.withheld and answer.status:
            told = ("ni-samps-per-chan-read", str(answer.samps_per_chan_read))
            context.set_trailing_metadata((("ni-error", str(answer.status)), told))
            context.abort(vendor.grpc.StatusCode.UNKNOWN, "Some samples are late.")
        return answer

    # -- commands -----------------------------------------------------------------------------

    def obey(self, name: str, *words: Any) -> Any:
        if name == "fail":
            self.failing = (words[0], words[1], words[2])
        elif name == "limit":
            self.limit_at = words[0]
        elif name == "skip":
            for task in self._tasks.values():
                task.begun = None if task.begun is None else task.begun - words[0]
        elif name == "factor":
            self.by = words[0]
        elif name == "withhold":
            self.withheld = words[0]
        elif name == "tasks":
            return sorted(self._tasks)
        elif name == "reads":
            return self.reads
        else:
            raise ValueError(f"no command '{name}'")
        return True


def main() -> None:
    service = FaultyService()
    server = DeviceServer(service, int(sys.argv[1]) or None)
    print(json.dumps(server.port), flush=True)
    for line in sys.stdin:
        print(json.dumps(service.obey(*json.loads(line))), flush=True)
    server.close()


if __name__ == "__main__":
    main()
