"""A small NI gRPC Device Server: continuous analogue input, nothing else; loopback only.

It speaks as much of NI's service ``nidaqmx_grpc.NiDAQmx`` as the driver uses, paced by the clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from drivers.nidaq import codes, vendor
from drivers.nidaq.address import parse
from gateway.model import Array

_M: Final = vendor.messages
_STATUS: Final = vendor.grpc.StatusCode

_AVAILABLE: Final = 0x1223
_CHANNELS: Final = 0x217B
_TASK_NAME: Final = 0x1276
_TASK_DEVICES: Final = 0x230E
_PRODUCT_TYPE: Final = 0x0631

_TEXTS: Final = {
    -200088: "Task specified is invalid or does not exist.",
    -200170: "Physical channel specified does not exist on this device.",
    -200220: "Device identifier is invalid.",
    -200279: "Samples were written over before they were read.",
    -50103: "The specified resource is reserved.",
}


class Served(NamedTuple):
    """One input of a task as the client asked for it; limits in its unit."""

    address: str
    kind: str
    low: float
    high: float
    metric: bool
    """Whether acceleration is in m/s2."""


Source = Callable[[Served, int, int, float], Array]
"""(input, number of the first sample, how many, rate in Hz) -> samples in the input's unit."""


@dataclass(eq=False)
class ServedTask:
    """One task of one client."""

    name: str
    inputs: list[Served] = field(default_factory=list)
    rate_hz: float = 1000.0
    kept: int = 0
    begun: float | None = None
    """When it was started, on the monotonic clock; None while it does not run."""
    read: int = 0
    overrun: bool = False

    @property
    def devices(self) -> set[str]:
        """Names of its devices, in small letters."""
        return {served.address.partition("/")[0].lower() for served in self.inputs}

    def acquired(self) -> int:
        """Samples of each input since the start."""
        if self.begun is None:
            return self.read
        return int((time.monotonic() - self.begun) * self.rate_hz)


class Service(vendor.service.NiDAQmxServicer):  # type: ignore[misc]
    """The calls. ``devices`` says which inputs exist: device name -> numbers of its inputs."""

    def __init__(self, devices: Mapping[str, set[int]], source: Source) -> None:
        self._devices = {name.lower(): numbers for name, numbers in devices.items()}
        self._source = source
        self._tasks: dict[str, ServedTask] = {}
        self._lock = threading.Lock()
        self.closing = threading.Event()

    def fail(self, context: Any, code: int) -> Any:
        """End the call as NI's server does: status UNKNOWN, the code in the trailing metadata."""
        context.set_trailing_metadata((("ni-error", str(code)),))
        text = _TEXTS.get(code, "Error of the task.")
        context.abort(_STATUS.UNKNOWN, f"{text}\n\nStatus Code: {code}")

    def task(self, request: Any, context: Any) -> ServedTask:
        """The task of the request; the call fails where there is none."""
        found = self._tasks.get(request.task.name)
        if found is None:
            self.fail(context, -200088)
            raise KeyError(request.task.name)  # never reached: `fail` raises
        return found

    def new_task(self, name: str) -> ServedTask:
        """A task that has no inputs yet."""
        return ServedTask(name)

    def coerced(self, rate_hz: float) -> float:
        """The rate that the sample clock really gets."""
        return rate_hz

    # -- tasks --------------------------------------------------------------------------------

    def CreateTask(self, request: Any, context: Any) -> Any:
        """Make a task of that name, or find it, as the client wants it."""
        with self._lock:
            name, wanted = request.session_name, request.initialization_behavior
            there = name in self._tasks
            if there and wanted == vendor.SessionInitializationBehavior.INITIALIZE_SERVER_SESSION:
                context.abort(_STATUS.ALREADY_EXISTS, f"a session '{name}' exists")
            if not there and wanted == (
                vendor.SessionInitializationBehavior.ATTACH_TO_SERVER_SESSION
            ):
                context.abort(_STATUS.FAILED_PRECONDITION, f"there is no session '{name}'")
            if not there:
                self._tasks[name] = self.new_task(name)
        return _M.CreateTaskResponse(
            task=vendor.ServerSession(name=name), new_session_initialized=not there
        )

    def ClearTask(self, request: Any, context: Any) -> Any:
        """Forget a task."""
        self._tasks.pop(request.task.name, None)
        return _M.ClearTaskResponse()

    def StartTask(self, request: Any, context: Any) -> Any:
        """Start the sample clock, if no other task has one of the devices."""
        task = self.task(request, context)
        with self._lock:
            others = [t for t in self._tasks.values() if t is not task and t.begun is not None]
            if any(task.devices & other.devices for other in others):
                self.fail(context, -50103)
            task.begun, task.read, task.overrun = time.monotonic(), 0, False
        return _M.StartTaskResponse()

    def StopTask(self, request: Any, context: Any) -> Any:
        """Stop the sample clock."""
        self.task(request, context).begun = None
        return _M.StopTaskResponse()

    # -- configuration ------------------------------------------------------------------------

    def _add(self, request: Any, context: Any, kind: str, metric: bool = False) -> None:
        task = self.task(request, context)
        address = parse(request.physical_channel)
        numbers = self._devices.get(address.device.lower())
        if numbers is None:
            self.fail(context, -200220)
        elif address.number not in numbers:
            self.fail(context, -200170)
        task.inputs.append(Served(str(address), kind, request.min_val, request.max_val, metric))

    def CreateAIAccelChan(self, request: Any, context: Any) -> Any:
        """Add an accelerometer."""
        metric = vendor.constants.AccelUnits.METERS_PER_SECOND_SQUARED.value
        self._add(request, context, "accelerometer", request.units_raw == metric)
        return _M.CreateAIAccelChanResponse()

    def CreateAIVoltageChan(self, request: Any, context: Any) -> Any:
        """Add a voltage."""
        self._add(request, context, "voltage")
        return _M.CreateAIVoltageChanResponse()

    def CreateAIVoltageChanWithExcit(self, request: Any, context: Any) -> Any:
        """Add the voltage of a sensor that is fed."""
        self._add(request, context, "iepe_voltage")
        return _M.CreateAIVoltageChanWithExcitResponse()

    def CreateAIThrmcplChan(self, request: Any, context: Any) -> Any:
        """Add a thermocouple."""
        self._add(request, context, "thermocouple")
        return _M.CreateAIThrmcplChanResponse()

    def CreateAIRTDChan(self, request: Any, context: Any) -> Any:
        """Add a resistance thermometer."""
        self._add(request, context, "rtd")
        return _M.CreateAIRTDChanResponse()

    def SetChanAttributeInt32(self, request: Any, context: Any) -> Any:
        """Take note of a coupling or a kind of excitation."""
        self.task(request, context)
        return _M.SetChanAttributeInt32Response()

    def CfgSampClkTiming(self, request: Any, context: Any) -> Any:
        """Set the sample clock."""
        task = self.task(request, context)
        task.rate_hz, task.kept = self.coerced(request.rate), request.samps_per_chan
        return _M.CfgSampClkTimingResponse()

    def SetBufferAttributeUInt32(self, request: Any, context: Any) -> Any:
        """Set how many samples are kept."""
        self.task(request, context).kept = request.value
        return _M.SetBufferAttributeUInt32Response()

    def SetReadAttributeInt32(self, request: Any, context: Any) -> Any:
        """Never write over what is unread; nothing else can be set."""
        self.task(request, context)
        return _M.SetReadAttributeInt32Response()

    # -- questions ----------------------------------------------------------------------------

    def GetSystemInfoAttributeUInt32(self, request: Any, context: Any) -> Any:
        """The version of the runtime."""
        return _M.GetSystemInfoAttributeUInt32Response(value=26)

    def GetTimingAttributeDouble(self, request: Any, context: Any) -> Any:
        """The rate of the sample clock."""
        return _M.GetTimingAttributeDoubleResponse(value=self.task(request, context).rate_hz)

    def GetTaskAttributeString(self, request: Any, context: Any) -> Any:
        """Name or devices of the task."""
        task = self.task(request, context)
        devices = sorted({served.address.partition("/")[0] for served in task.inputs})
        known = {_TASK_NAME: task.name, _TASK_DEVICES: ", ".join(devices)}
        return _M.GetTaskAttributeStringResponse(value=known.get(request.attribute_raw, ""))

    def GetReadAttributeUInt32(self, request: Any, context: Any) -> Any:
        """Samples that wait, or number of inputs."""
        task = self.task(request, context)
        known = {_AVAILABLE: task.acquired() - task.read, _CHANNELS: len(task.inputs)}
        return _M.GetReadAttributeUInt32Response(value=known.get(request.attribute_raw, 0))

    def GetDeviceAttributeString(self, request: Any, context: Any) -> Any:
        """The product type of a device."""
        simulated = "simulated" if request.attribute_raw == _PRODUCT_TYPE else ""
        return _M.GetDeviceAttributeStringResponse(value=simulated)

    def GetDeviceAttributeUInt32(self, request: Any, context: Any) -> Any:
        """The serial number of a device."""
        return _M.GetDeviceAttributeUInt32Response(value=0)

    # -- samples ------------------------------------------------------------------------------

    def ReadAnalogF64(self, request: Any, context: Any) -> Any:
        """Wait for samples and give them, by input; what did not come in time is zero."""
        task = self.task(request, context)
        wanted, until = request.num_samps_per_chan, time.monotonic() + request.timeout
        while (missing := wanted - (task.acquired() - task.read)) > 0:
            pause = min(missing / task.rate_hz, until - time.monotonic(), 0.05)
            if pause <= 0 or self.closing.wait(pause) or not context.is_active():
                break
        ready = task.acquired() - task.read
        task.overrun = task.overrun or ready > task.kept
        if task.overrun:
            self.fail(context, -200279)
        count = min(ready, wanted)
        values = np.zeros((len(task.inputs), wanted))
        for row, served in enumerate(task.inputs):
            values[row, :count] = self._source(served, task.read, count, task.rate_hz)
        task.read += count
        return _M.ReadAnalogF64Response(
            status=0 if count == wanted else codes.NOT_YET_AVAILABLE,
            read_array=values.reshape(-1).tolist(),
            samps_per_chan_read=count,
        )


class DeviceServer:
    """A service on 127.0.0.1, at the wished port where that is free."""

    def __init__(self, service: Service, port: int | None = None, credentials: Any = None) -> None:
        self._service = service
        self._workers = ThreadPoolExecutor(8, thread_name_prefix="ni-server")
        self._server = vendor.grpc.server(self._workers, options=(("grpc.so_reuseport", 0),))
        vendor.service.add_NiDAQmxServicer_to_server(service, self._server)
        self.port = self._listen(port or 0, credentials)
        self._server.start()

    def _listen(self, port: int, credentials: Any) -> int:
        try:
            where = f"127.0.0.1:{port}"
            if credentials is None:
                return int(self._server.add_insecure_port(where))
            return int(self._server.add_secure_port(where, credentials))
        except RuntimeError:
            if not port:
                raise
            return self._listen(0, credentials)

    def close(self) -> None:
        """Stop serving; idempotent."""
        self._service.closing.set()
        self._server.stop(None).wait()
        self._workers.shutdown()
