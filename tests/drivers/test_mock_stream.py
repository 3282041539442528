"""The mock as a stream: determinism, faults of its maps, stand-ins, cost."""

from __future__ import annotations

import math
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from drivers.mock import MockDriver, channels
from drivers.mock.stream import MockStreamDriver
from gateway.config import load
from gateway.driver import ChannelConfig, ChannelSpec, DeviceMap, StreamDriver, StreamSpec
from gateway.errors import ConfigError
from gateway.model import Block, Channel
from tests.drivers.mock_support import (
    PLACE,
    make,
    make_stream,
    record,
    started,
)
from tests.support import ROOT

RATE = 25600.0
BEARING = {
    "kind": "bearing", "fault": "inner", "elements": 9, "ball_mm": 7.94, "pitch_mm": 39.04,
    "speed_rpm": 1797, "wander": 0.01, "degradation": {"doubling_s": 1}, "noise": 0.1,
}  # fmt: skip
SHAFT = {"kind": "shaft", "speed_hz": 25, "misalignment_2x": 0.5, "noise": 0.05}
ALL: dict[str, dict[str, Any]] = {
    "tones": {"signal": {"kind": "sines", "tones": [{"hz": 50.3}, {"hz": 7001.7}], "mean": 1}},
    "shaft": {"signal": SHAFT},
    "swinging": {"signal": {**SHAFT, "wander": 0.05, "degradation": {"doubling_s": 2}}},
    "bearing": {"signal": BEARING},
    "noise": {"signal": {"kind": "noise"}, "fault": {"kind": "open", "every_s": 0.3, "for_s": 0.1}},
    "sum": {"signal": {"kind": "sum", "of": [SHAFT, BEARING, {"kind": "noise", "rms": 0.3}]}},
}
WINDOW: dict[str, Any] = {"every_s": 100, "for_s": 20, "phase": 0}
PLAIN: dict[str, dict[str, Any]] = {
    "x": {"signal": {"kind": "sines", "tones": [{"hz": 50}]}, "unit": "V"}
}


# -- samples depend on seed, names and number alone ---------------------------------------------


def test_the_same_seed_gives_the_same_samples() -> None:
    once = record(make_stream(ALL), 1.0)
    assert np.array_equal(once, record(make_stream(ALL), 1.0))
    other_seed, other_name = (
        record(make_stream(ALL, **kw), 1.0) for kw in ({"seed": 2}, {"name": "other"})
    )
    for row, name in enumerate(ALL):
        if name != "tones":  # a mixture of sines has no random part
            assert not np.array_equal(once[row], other_seed[row]), name
            assert not np.array_equal(once[row], other_name[row]), name


@pytest.mark.parametrize("block_s", [1 / 25600, 0.0317, 0.1, 0.7])
def test_samples_do_not_depend_on_how_blocks_are_cut(block_s: float) -> None:
    seconds = 0.9 if block_s > 0.001 else 0.2
    expected = record(make_stream(ALL), seconds)
    assert np.array_equal(record(make_stream(ALL, block_s=block_s), seconds), expected)


def test_samples_do_not_depend_on_the_other_channels() -> None:
    whole = record(make_stream(ALL), 0.5)
    for row, (name, channel) in enumerate(ALL.items()):
        assert np.array_equal(record(make_stream({name: channel}), 0.5)[0], whole[row]), name


def test_samples_after_a_gap_are_those_of_their_number() -> None:
    driver = make_stream(ALL)
    whole = record(make_stream(ALL), 3.0)
    pace = started(driver)
    driver.read_block()
    pace.pass_s(2.0)
    driver.close()
    driver.connect()
    block = driver.read_block()
    assert block.first == 0
    begin = round(2.1 * RATE)
    assert np.array_equal(block.data, whole[:, begin : begin + 2560])


def test_two_channels_of_one_signal_have_noise_of_their_own() -> None:
    noise = {"signal": {"kind": "noise"}}
    one, two = record(make_stream({"a": noise, "b": noise}), 2.0)
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / math.sqrt(one.size)


def test_a_block_is_float32_c_contiguous_in_the_order_of_the_channels() -> None:
    driver = make_stream(ALL)
    started(driver)
    block = driver.read_block()
    assert block.data.dtype == np.float32
    assert block.data.flags.c_contiguous
    assert block.data.shape == (len(ALL), 2560)
    assert [c.name for c in driver.channels] == list(ALL)
    assert (block.rate_hz, block.gap, block.t0_ns) == (RATE, None, 0)
    assert driver.channels[0] == Channel("tones", "g", 50.0, None, (("signal", "sines"),))


def test_a_driver_can_be_pickled_before_connect() -> None:
    driver = make_stream(ALL, disconnect={**WINDOW, "for_s": 0})
    assert np.array_equal(record(pickle.loads(pickle.dumps(driver)), 0.3), record(driver, 0.3))


# -- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ({"address": "ai0"}, "a channel of the mock has no address; leave it out"),
        (
            {"signal": {"kind": "sines", "tones": [{"hz": 12800}]}},
            "tones: hz: 12800 is too fast for rate_hz: 25600; expected less than its half",
        ),
        (
            {"signal": {**SHAFT, "speed_hz": 5000, "misalignment_3x": 1}},
            "3x = 15000 Hz is too fast",
        ),
        ({"signal": {**BEARING, "resonance_hz": 13000}}, "resonance_hz: 13000 is too fast"),
        (
            {"signal": {**BEARING, "speed_rpm": 300_000}},
            "impacts a second is too fast for rate_hz: 25600",
        ),
        (
            {"signal": {**BEARING, "resonance_hz": 500, "damping": 0.005}},
            "the resonance rings for 0.73 s; expected at most 0.25 s",
        ),
        (
            {"unit": "kN", "fault": {"kind": "open", **WINDOW}},
            "fault: open shows the full scale; give full_scale",
        ),
        ({"replay": {"file": "absent.npz"}}, "absent.npz: No such file"),
    ],
)  # fmt: skip
def test_a_channel_that_cannot_be_is_a_fault_with_its_place(
    channel: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        make_stream({**PLAIN, "y": channel})
    (fault,) = raised.value.faults
    assert message in fault.message
    assert str(fault).startswith("map.yaml:7:3: ")


def test_settings_that_mean_nothing_are_faults_and_all_come_at_once() -> None:
    useless: dict[str, Any] = {
        "latency_s": 0.1,
        "jitter_s": 0.1,
        "dropout": {**WINDOW, "groups": ["g0"]},
    }
    with pytest.raises(ConfigError) as raised:
        make_stream({"x": {"address": "ai0"}}, **useless)
    texts = "\n".join(map(str, raised.value.faults))
    assert len(raised.value.faults) == 4
    assert "devices.machine.latency_s: a stream has no polls that could take longer" in texts
    assert "devices.machine.dropout.groups: a stream has no groups; leave it out" in texts
    with pytest.raises(ConfigError) as polled:
        make({"x": {"type": "real"}}, buffer_s=5, rate_error_ppm=1)
    assert "devices.machine.buffer_s: this map has tags to poll" in str(polled.value)
    assert len(polled.value.faults) == 2


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ({"signal": SHAFT, "replay": {"file": "x.npz"}}, "either signal or replay, not both"),
        ({"signal": {"kind": "shaft"}}, "either speed_rpm or speed_hz"),
        ({"signal": {**SHAFT, "speed_rpm": 1500}}, "either speed_rpm or speed_hz"),
        ({"signal": {**BEARING, "impacts_per_rev": 3}}, "or impacts_per_rev"),
        ({"signal": {**BEARING, "elements": None}}, "either elements, ball_mm and pitch_mm"),
        ({"signal": {**BEARING, "ball_mm": 40}}, "ball_mm: 40 is not less than pitch_mm"),
        ({"signal": {"kind": "sines", "tones": []}}, "tones"),
        ({"signal": {"kind": "sine"}}, "kind"),
        ({"fault": {"kind": "dc_shift", **WINDOW}}, "shift"),
        ({"fault": {"kind": "short", "every_s": 1, "for_s": 2}}, "longer than every_s"),
    ],
)
def test_settings_that_cannot_be_are_refused(channel: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        channels.MockChannel.model_validate(channel)


# -- stand-ins ----------------------------------------------------------------------------------


class _Card(StreamDriver):
    """A real stream as the stand-in sees it; it cannot be connected."""

    def connect(self) -> None:
        raise AssertionError("a stand-in must not touch the device")

    close = connect

    def read_block(self) -> Block:
        raise AssertionError


def test_a_stand_in_has_the_channels_of_the_real_device_and_likely_samples() -> None:
    config = MockDriver.config_class.model_validate(
        {"map": "maps/real.yaml", "timeout_s": 1.5, "labels": {"line": "a"}, "with": {"card": 4}}
    )
    units = {"bearing": "g", "casing": "m/s2", "oil": "degC", "probe": "V", "odd": "furlong"}
    specs = [
        ChannelSpec(n, ChannelConfig.model_validate({"unit": u}), PLACE) for n, u in units.items()
    ]
    real = _Card("card_1", config, DeviceMap("m", stream=StreamSpec(RATE, 0.1, specs, PLACE)))
    setup = (("address", "Dev1/ai0"),)
    real.channels = tuple(Channel(n, u, 5.0e3, None, setup) for n, u in units.items())
    mock = MockDriver.stand_in(real)
    assert isinstance(mock, MockStreamDriver)
    assert mock.name == "card_1"
    assert (mock.channels, mock.groups, mock.stream) == (real.channels, real.groups, real.stream)
    assert (mock.config.timeout_s, mock.config.labels, mock.config.with_) == (
        1.5, {"line": "a"}, {"card": 4},
    )  # fmt: skip
    seen = dict(zip(units, record(pickle.loads(pickle.dumps(mock)), 1.0), strict=True))
    rms = {name: float(row.std()) for name, row in seen.items()}
    assert 0.04 < rms["bearing"] < 0.1
    assert rms["casing"] / rms["bearing"] == pytest.approx(9.80665, rel=0.05)
    assert abs(seen["oil"].mean() - 25) < 1
    assert rms["oil"] < 0.2
    assert 0.05 < rms["probe"] < 0.1
    assert MockDriver.stand_in(mock) is mock


def test_a_slow_stand_in_shows_what_its_rate_can_show() -> None:
    for rate in (1.0, 10.0, 100.0):
        for unit in ("g", "degC", "V"):
            stream = StreamSpec(rate, 0.1, [], PLACE)
            real = _Card(
                "t",
                MockDriver.config_class.model_validate({"map": "m"}),
                DeviceMap("m", stream=stream),
            )
            real.channels = (Channel("x", unit),)
            row = record(MockDriver.stand_in(real), 3000 / rate)[0]  # type: ignore[arg-type]
            power = abs(np.fft.rfft(row - row.mean())) ** 2
            assert power[: power.size // 2].sum() > 0.9 * power.sum(), (rate, unit)


# -- docs ---------------------------------------------------------------------------------------


def test_the_readme_contains_the_examples_and_every_option() -> None:
    folder = ROOT / "drivers" / "mock"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for example in ("example-stream.yaml", "example-stream-map.yaml"):
        assert f"```yaml\n{(folder / example).read_text(encoding='utf-8')}```" in readme
    own = channels.MockChannel.model_fields.keys() - ChannelConfig.model_fields.keys()
    assert all(f"`{name}`" in readme for name in own)
    for name, settings in vars(channels).items():
        fields = getattr(settings, "model_fields", {})
        if getattr(settings, "__module__", "") == channels.__name__:
            assert all(f"`{field}`" in readme for field in fields), (name, list(fields))
            assert all(info.description for f, info in fields.items() if f != "kind"), name


def test_300_channels_cost_far_less_than_one_call_a_sample() -> None:
    signal = {"kind": "sines", "tones": [{"hz": 50}]}
    driver = make_stream({f"x{i}": {"signal": signal} for i in range(300)})
    started(driver)

    def timed(work: Any) -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    def by_sample() -> list[float]:
        return [math.sin(2 * math.pi * 50 * n / RATE) for n in range(2560)]

    block = min(timed(driver.read_block) for _ in range(15)) / 300
    loop = min(timed(by_sample) for _ in range(15))
    assert block < loop / 10, f"{block * 1e6:.1f} us against {loop * 1e6:.1f} us a channel"


def test_one_driver_serves_maps_of_both_kinds() -> None:
    assert MockDriver.channel_class is MockStreamDriver.channel_class
    assert MockDriver.for_map(DeviceMap("m")) is MockDriver
    assert MockDriver.for_map(make_map()) is MockStreamDriver


def make_map() -> DeviceMap:
    return DeviceMap("m", stream=StreamSpec(RATE, 0.1, [], PLACE))


def test_the_example_is_read_as_a_user_reads_it(tmp_path: Path) -> None:
    for file in ("example-stream.yaml", "example-stream-map.yaml"):
        shutil.copy(ROOT / "drivers" / "mock" / file, tmp_path)
    (driver,) = load(tmp_path / "example-stream.yaml").devices.values()
    assert isinstance(driver, MockStreamDriver)
    seen = dict(zip((c.name for c in driver.channels), record(driver, 1.0), strict=True))
    assert list(seen) == ["drive_end", "free_end", "casing", "foot"]
    assert seen["casing"].mean() == pytest.approx(2.5, abs=1e-3)
    assert all(0.02 < row.std() < 0.5 for row in seen.values())
