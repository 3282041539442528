"""One running task of NI-DAQmx: from the first channel to its last sample. It only reads."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np

from drivers.nidaq import codes, vendor
from drivers.nidaq.channels import Input
from drivers.nidaq.link import Link
from drivers.nidaq.partial import part_of_block
from drivers.nidaq.virtual import add_channel
from gateway.errors import DeviceUnavailable
from gateway.model import Array

_NO_RUNTIME: Final = (
    "NI-DAQmx is not installed on this computer. Install it with `python -m nidaqmx installdriver` "
    "(Ubuntu 22.04 and 24.04, RHEL 9 and 10, openSUSE 15.6 and 16.0), or read the card through "
    "the NI gRPC Device Server of another computer (`grpc: host:port`)"
)

_RPC_REASONS: Final = {
    "UNAVAILABLE": "closed",
    "CANCELLED": "closed",
    "DEADLINE_EXCEEDED": "timeout",
    "UNAUTHENTICATED": "refused",
    "PERMISSION_DENIED": "refused",
}


class Overrun(Exception):
    """Samples were lost, because they were not read in time or could not be transferred."""


class Session:
    """A task, and the channel to its server where there is one."""

    def __init__(
        self, name: str, inputs: Sequence[Input], samples: int, rate_hz: float, link: Link | None
    ) -> None:
        """``samples`` of each channel at ``rate_hz`` are a block, if the card has that rate."""
        self.rate_hz = rate_hz
        """The rate of the sample clock; as the card coerced it, once it is configured."""
        self.devices: list[str] = []
        """What NI-DAQmx says of each device: ``cDAQ1Mod1: NI 9234, serial 01234567``."""
        self._name = name
        self._inputs = inputs
        self._samples = samples
        self._link = link
        self._task: Any = None
        self._reader: Any = None
        self._interrupted = False
        self._wait_s = 0.0
        self._buffer: Array = np.empty((0, 0), "f8")

    # -- life ---------------------------------------------------------------------------------

    def open(self, buffer_s: float, timeout_s: float) -> None:
        """Configure and start the task. Raises DeviceUnavailable; then `close` is still due.

        ``buffer_s`` are kept by NI-DAQmx; a read waits ``timeout_s`` longer than a block lasts.
        """
        block_s = self._samples / self.rate_hz
        # half of the time is left for the answer itself, which may be of a part of the samples
        self._wait_s = block_s + timeout_s / 2
        try:
            with self._reported():
                channel = None if self._link is None else self._link.open(block_s + timeout_s)
                self._task = task = self._new_task(channel)
                self._configure(task, block_s, buffer_s)
                task.start()
                self.rate_hz = float(task.timing.samp_clk_rate)
        except Overrun as error:
            raise DeviceUnavailable("overrun", str(error)) from None
        if self._link is not None:
            self._link.opened()

    def _configure(self, task: Any, block_s: float, buffer_s: float) -> None:
        names = vendor.constants
        for address, spec in self._inputs:
            add_channel(task.ai_channels, str(address), spec)
        clock = task.timing
        kept = round(buffer_s * self.rate_hz)
        clock.cfg_samp_clk_timing(
            self.rate_hz, sample_mode=names.AcquisitionType.CONTINUOUS, samps_per_chan=kept
        )
        self.rate_hz = rate_hz = float(clock.samp_clk_rate)
        if not 0 < rate_hz < float("inf"):
            raise DeviceUnavailable("protocol", f"the sample clock is said to have {rate_hz} Hz")
        self._samples = max(1, round(rate_hz * block_s))
        self._buffer = np.empty((len(self._inputs), self._samples), "f8")
        task.in_stream.input_buf_size = max(round(buffer_s * rate_hz), 4 * self._samples)
        # samples that are written over unnoticed would shift all that come after them
        task.in_stream.overwrite = names.OverwriteMode.DO_NOT_OVERWRITE_UNREAD_SAMPLES
        self._reader = vendor.AnalogMultiChannelReader(task.in_stream)
        self._reader.verify_array_shape = False  # it asks the server each time
        self.devices = _describe(task)

    def restart(self) -> None:
        """Stop the task and start it anew: its samples count from 0 again."""
        # stopping a task that has overrun may report the overrun once more
        with contextlib.suppress(Overrun), self._reported():
            self._task.stop()
        try:
            with self._reported():
                self._task.start()
        except Overrun as error:
            raise DeviceUnavailable("overrun", str(error)) from None

    def close(self) -> None:
        """End the task and the channel; idempotent, never raises."""
        task, self._task = self._task, None
        if self._link is not None:
            self._link.hurry()
        if task is not None:
            # a task whose server or card is gone cannot be cleared, and need not be
            with contextlib.suppress(Exception):
                task.close()
        if self._link is not None:
            with contextlib.suppress(Exception):
                self._link.close()

    def interrupt(self) -> None:
        """Free a read that waits in another thread; never raises."""
        self._interrupted = True
        task = self._task
        with contextlib.suppress(Exception):
            if self._link is not None:
                self._link.close()
            elif task is not None:
                task.control(vendor.constants.TaskMode.TASK_ABORT)

    def _new_task(self, channel: Any) -> Any:
        if channel is None:
            return vendor.nidaqmx.Task()
        # A server keeps the task of a client that it lost, and the card stays reserved by it. The
        # name is always the same, so that such a task is found, ended and made anew.
        behaviors = vendor.SessionInitializationBehavior
        name = task_name(self._name)
        if self._link is not None:
            self._link.claim(name)

        def task(behavior: Any) -> Any:
            options = vendor.GrpcSessionOptions(channel, name, initialization_behavior=behavior)
            return vendor.nidaqmx.Task(name, grpc_options=options)

        try:
            return task(behaviors.INITIALIZE_SERVER_SESSION)
        except vendor.errors.RpcError as error:
            if error.rpc_code is not vendor.grpc.StatusCode.ALREADY_EXISTS:
                raise
        task(behaviors.ATTACH_TO_SERVER_SESSION).close()
        return task(behaviors.INITIALIZE_SERVER_SESSION)

    # -- samples ------------------------------------------------------------------------------

    def read(self) -> Array:
        """The next samples, ``[input, sample]``; fewer than a block if they are late.

        The array is written over by the next read. Raises Overrun and DeviceUnavailable.
        """
        self._buffer.fill(np.nan)  # what a part of a block did not bring must not look like values
        with self._reported():
            try:
                count = self._reader.read_many_sample(
                    self._buffer, self._samples, timeout=self._wait_s
                )
            except vendor.errors.DaqReadError as error:
                count = error.samps_per_chan_read
                if error.error_code != codes.NOT_YET_AVAILABLE or not count:
                    raise
        if count == self._samples:
            return self._buffer
        found = part_of_block(self._buffer, count)
        if found is None:
            raise DeviceUnavailable("timeout", f"{count} samples were late, and are lost")
        return found

    def unread_s(self) -> float | None:
        """How long NI-DAQmx could go on without a read so far: what waits in its buffer, in s."""
        with contextlib.suppress(vendor.errors.Error, ValueError):
            return float(self._task.in_stream.avail_samp_per_chan) / self.rate_hz
        return None

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Errors of nidaqmx as the gateway's own."""
        errors = vendor.errors
        try:
            yield
        except Exception as error:
            if isinstance(error, DeviceUnavailable):
                raise
            if self._interrupted:
                raise DeviceUnavailable("closed", "interrupted") from None
            if isinstance(error, errors.DaqError):
                if error.error_code in codes.OVERRUNS:
                    raise Overrun(_one_line(error)) from None
                reason = codes.reason_of(error.error_code)
                raise DeviceUnavailable(reason, _one_line(error)) from None
            if isinstance(error, errors.RpcError):
                reason = _RPC_REASONS.get(getattr(error.rpc_code, "name", ""), "protocol")
                raise DeviceUnavailable(reason, _one_line(error)) from None
            if isinstance(error, errors.DaqFunctionNotSupportedError):
                raise DeviceUnavailable("no_runtime", _one_line(error)) from None
            if isinstance(error, (errors.Error, OSError)):
                raise DeviceUnavailable("no_runtime", f"{_NO_RUNTIME} ({error})") from None
            raise


def task_name(device: str) -> str:
    """Name of the task at a server: the same after every restart, another on each computer."""
    machine = b""
    with contextlib.suppress(OSError):  # host names may be the same; this is not to be told as is
        machine = Path("/etc/machine-id").read_bytes()
    digest = blake2b(machine, digest_size=4).hexdigest()
    text = f"gateway {socket.gethostname()} {digest} {device}"
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


def _describe(task: Any) -> list[str]:
    found = []
    for device in task.devices:
        # a fact that is not to be had is no reason not to measure
        with contextlib.suppress(vendor.errors.Error):
            found.append(f"{device.name}: {device.product_type}, serial {device.serial_num:08X}")
    return found


def _one_line(error: Exception) -> str:
    """NI's text without its paragraphs."""
    return " ".join(str(error).split())
