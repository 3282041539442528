"""Simulated cards for `gateway sim`: what a machine's sensors might say, paced by the clock."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from drivers.nidaq.server import DeviceServer, Served, Service
from drivers.nidaq.settings import G
from gateway.driver import Endpoint, Simulation
from gateway.model import Array

if TYPE_CHECKING:
    from drivers.nidaq.driver import NidaqDriver

SHAFT_HZ: Final = 24.75
"""A motor of four poles under load: 1485 rpm."""

IMPACTS_HZ: Final = 88.5
"""Rate of the impacts of a bearing that begins to fail, 3.58 a turn (a 6205's outer race)."""

RING_HZ: Final = 3000.0
RING_S: Final = 0.001
"""Each impact rings at this frequency and dies away in this time (to 1/e)."""

LOOP_S: Final = 4.0
"""An accelerometer's signal comes again after this time, without a seam."""

_TONES_G: Final = ((1.0, 0.15), (2.0, 0.05), (3.0, 0.02))
"""Order of the shaft and amplitude, in g."""

_NOISE_G: Final = 0.02
_IMPACT_G: Final = 0.3


class NidaqSimulation(Simulation):
    """One server for each device; it has the inputs that the device's map names."""

    def __init__(self, drivers: Sequence[NidaqDriver], ports: Mapping[str, int]) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self._servers: list[DeviceServer] = []
        for driver in drivers:
            devices: dict[str, set[int]] = {}
            for address, _ in driver.inputs:
                devices.setdefault(address.device, set()).add(address.number)
            server = DeviceServer(Service(devices, Sensors()), ports.get(driver.name))
            self._servers.append(server)
            self.endpoints[driver.name] = Endpoint("127.0.0.1", server.port)

    def step(self, time_s: float) -> None:
        """Nothing to move: the sample clock does."""

    def close(self) -> None:
        """Stop serving; idempotent."""
        for server in self._servers:
            server.close()


class Sensors:
    """Signals of all inputs; those of accelerometers are made once and played in a loop."""

    def __init__(self) -> None:
        self._loops: dict[tuple[str, float], Array] = {}

    def __call__(self, served: Served, first: int, count: int, rate_hz: float) -> Array:
        """The samples from number ``first`` on, in the input's unit."""
        if served.kind in ("accelerometer", "iepe_voltage"):
            loop = self._loops.get((served.address, rate_hz))
            if loop is None:
                loop = self._loops[served.address, rate_hz] = vibration(served.address, rate_hz)
            found = np.take(loop, np.arange(first, first + count), mode="wrap")
            if served.kind == "iepe_voltage":
                return 0.1 * found  # 100 mV/g
            return found * G if served.metric else found
        seconds = np.arange(first, first + count) / rate_hz
        number = zlib.crc32(served.address.encode()) % 100 / 100
        if served.kind == "voltage":  # a transmitter somewhere in its range
            middle, half = (served.high + served.low) / 2, (served.high - served.low) / 2
            return middle + half * (0.2 + 0.3 * np.sin(2 * np.pi * (seconds / 30 + number)))
        return 55 + 20 * number + 3 * np.sin(2 * np.pi * (seconds / 300 + number))


def vibration(address: str, rate_hz: float) -> Array:
    """`LOOP_S` of acceleration in g: shaft and harmonics, impacts with ring-down, noise.

    What is above half of the sampling rate is left out. The same for the same address.
    """
    count = max(1, round(LOOP_S * rate_hz))
    random = np.random.default_rng(zlib.crc32(address.encode()))
    position = np.arange(count) / count
    signal = random.normal(0.0, _NOISE_G, count)
    for order, amplitude in _TONES_G:
        if order * SHAFT_HZ < rate_hz / 2:
            turns = round(order * SHAFT_HZ * LOOP_S)
            phase = random.uniform(0, 2 * np.pi)
            signal += amplitude * np.sin(2 * np.pi * turns * position + phase)
    if rate_hz / 2 > RING_HZ:
        hits = np.zeros(count)
        impacts = round(IMPACTS_HZ * LOOP_S)
        hits[np.arange(impacts) * count // impacts] = _IMPACT_G
        seconds = np.arange(count) / rate_hz
        ring = np.exp(-seconds / RING_S) * np.sin(2 * np.pi * RING_HZ * seconds)
        signal += np.fft.irfft(np.fft.rfft(hits) * np.fft.rfft(ring), count)
    return signal
