"""NI drivers for tests, built as the configuration would, and the samples that the peers give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from drivers.nidaq import NidaqDriver
from drivers.nidaq.settings import NidaqChannel, NidaqConfig
from gateway.driver import ChannelSpec, DeviceMap, StreamSpec
from gateway.errors import Place
from gateway.model import Array, Block

RATE_HZ = 25_600.0
BLOCK_S = 0.1
ACCELEROMETER: dict[str, Any] = {"type": "accelerometer", "sensitivity_mv_per_g": 100.0}
FOUR: dict[str, dict[str, Any]] = {
    f"ch{i}": {"address": f"cDAQ1Mod1/ai{i}", **ACCELEROMETER} for i in range(4)
}


def make(
    channels: Mapping[str, Mapping[str, Any]],
    *,
    rate_hz: float = RATE_HZ,
    block_s: float = BLOCK_S,
    **config: Any,
) -> NidaqDriver:
    """A driver with these channels; ``config`` are its settings."""
    specs = [
        ChannelSpec(name, NidaqChannel.model_validate(spec), Place("map.yaml", line, 1, name))
        for line, (name, spec) in enumerate(channels.items(), 1)
    ]
    stream = StreamSpec(rate_hz, block_s, specs, Place("map.yaml", 1, 1, "stream"))
    settings = {"driver": "nidaq", "map": Path("map.yaml"), "timeout_s": 2.0, **config}
    return NidaqDriver(
        "daq", NidaqConfig.model_validate(settings), DeviceMap("map.yaml", [], stream)
    )


def at(port: int) -> str:
    """A server on loopback, as the setting `grpc` has it."""
    return f"127.0.0.1:{port}"


def wave(first: int, count: int, numbers: list[int]) -> Array:
    """What the peers give: sample n of input aiC is 8 (n + 1) + C, exact in float64."""
    found: Array = 8.0 * (np.arange(first, first + count) + 1) + np.array(numbers)[:, None]
    return found


def is_exact(driver: NidaqDriver, block: Block) -> bool:
    """Whether every sample of every channel is the one of its number."""
    numbers = [address.number for address, _ in driver.inputs]
    return np.array_equal(block.data, wave(block.first, block.samples, numbers))
