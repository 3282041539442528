"""The simulator: an NI gRPC Device Server of our own that the unmodified client reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from drivers.nidaq import NidaqDriver
from drivers.nidaq.server import Served
from drivers.nidaq.simulator import LOOP_S, SHAFT_HZ, Sensors, vibration
from gateway.driver import Simulation
from gateway.errors import DeviceUnavailable
from gateway.model import Array
from tests.drivers.nidaq_support import ACCELEROMETER, make
from tests.support import free_port

CHANNELS: dict[str, dict[str, Any]] = {
    "drive_end": {"address": "cDAQ1Mod1/ai0", **ACCELEROMETER},
    "metric": {"address": "cDAQ1Mod1/ai1", **ACCELEROMETER, "unit": "m/s2"},
    "raw": {"address": "cDAQ1Mod1/ai2", "type": "iepe_voltage"},
    "pressure": {
        "address": "cDAQ1Mod2/ai0",
        "type": "voltage",
        "min": 0.4,
        "max": 2.0,
        "scale": 10.0,
        "offset": -4.0,
        "unit": "bar",
    },
    "housing": {"address": "cDAQ1Mod3/ai0", "type": "thermocouple", "thermocouple_type": "K"},
    "winding": {"address": "cDAQ1Mod4/ai0", "type": "rtd"},
}


@pytest.fixture
def driver() -> NidaqDriver:
    return make(CHANNELS, rate_hz=10_000.0, block_s=0.05)


@pytest.fixture
def simulation(driver: NidaqDriver) -> Iterator[Simulation]:
    simulation = NidaqDriver.simulate([driver])
    assert simulation is not None
    driver.redirect(simulation.endpoints["daq"])
    driver.connect()
    yield simulation
    driver.close()
    simulation.close()
    simulation.close()


def read(driver: NidaqDriver, blocks: int) -> Array:
    found = []
    for number in range(blocks):
        block = driver.read_block()
        assert (block.first, block.samples, block.gap) == (number * 500, 500, None)
        found.append(block.data.copy())
    return np.concatenate(found, axis=1)


def test_every_type_of_channel_has_a_plausible_signal(
    driver: NidaqDriver, simulation: Simulation
) -> None:
    data = dict(zip(CHANNELS, read(driver, 8), strict=True))
    assert 0.05 < data["drive_end"].std() < 1.0
    assert 0.5 < data["metric"].std() < 10.0
    assert 0.005 < data["raw"].std() < 0.1
    assert data["pressure"].min() >= 0.0, "4 to 20 mA"
    assert data["pressure"].max() <= 16.0
    for name in ("housing", "winding"):
        assert 20 < data[name].mean() < 100
    assert all(np.ptp(samples) > 0 for samples in data.values()), "nothing moved"
    facts = driver.status()
    assert facts["rate_hz"] == 10_000
    assert facts["devices"].count("simulated") == 4


def test_a_wished_port_is_taken_where_it_is_free(driver: NidaqDriver) -> None:
    port = free_port()
    first = NidaqDriver.simulate([driver], ports={"daq": port})
    second = NidaqDriver.simulate([driver], ports={"daq": port})
    assert first is not None
    assert second is not None
    try:
        assert first.endpoints["daq"].port == port
        assert second.endpoints["daq"].port != port
    finally:
        first.close()
        second.close()


def test_it_ends_while_a_read_waits(driver: NidaqDriver) -> None:
    slow = make({"t": {"address": "cDAQ1Mod3/ai0", "type": "rtd"}}, rate_hz=0.02, block_s=100.0)
    simulation = NidaqDriver.simulate([slow])
    assert simulation is not None
    slow.redirect(simulation.endpoints["daq"])
    slow.connect()
    simulation.close()
    with pytest.raises(DeviceUnavailable):
        slow.read_block()
    slow.close()


def test_the_vibration_is_a_machine_that_repeats_without_a_seam() -> None:
    rate_hz = 25_600.0
    signal = vibration("cDAQ1Mod1/ai0", rate_hz)
    assert np.array_equal(signal, vibration("cDAQ1Mod1/ai0", rate_hz))
    assert not np.array_equal(signal, vibration("cDAQ1Mod1/ai1", rate_hz))
    amplitude = 2 * np.abs(np.fft.rfft(signal)) / len(signal)
    # one whole number of turns in the loop, so one line
    assert amplitude[round(SHAFT_HZ * LOOP_S)] == pytest.approx(0.15, abs=0.01)
    assert np.argmax(amplitude[1:]) + 1 == round(SHAFT_HZ * LOOP_S)
    played = Sensors()(
        Served("cDAQ1Mod1/ai0", "accelerometer", -50, 50, False), 102_300, 200, rate_hz
    )
    assert np.array_equal(played, np.concatenate([signal[-100:], signal[:100]]))


@pytest.mark.parametrize("rate_hz", [1.0, 10.0, 60.0, 1000.0])
def test_slow_clocks_have_signals_too(rate_hz: float) -> None:
    assert np.isfinite(vibration("Dev1/ai0", rate_hz)).all()
