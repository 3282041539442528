"""Settings, addresses, faults in them, and what follows for the channels."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.nidaq import NidaqDriver, codes
from drivers.nidaq.address import parse
from drivers.nidaq.settings import NidaqChannel, parse_endpoint
from gateway.driver import Endpoint
from gateway.errors import ConfigError
from tests.drivers.nidaq_support import ACCELEROMETER, FOUR, make
from tests.support import ROOT


def refused(channel: dict[str, Any] | None = None, **config: Any) -> str:
    try:
        make({"x": channel} if channel else FOUR, **config)
    except (ConfigError, ValidationError) as error:
        return str(error)
    return ""


K = {"address": "Dev1/ai0", "type": "thermocouple", "thermocouple_type": "K"}
VOLTS = {"address": "Dev1/ai0", "type": "voltage"}
RTD = {"address": "Dev1/ai0", "type": "rtd"}
IEPE = {"address": "Dev1/ai0", **ACCELEROMETER}


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({"address": "Dev1/ai0", "type": "accelerometer"}, "'sensitivity_mv_per_g' is missing"),
        ({**IEPE, "sensitivity_mv_per_g": 0.0}, "greater than 0"),
        ({**IEPE, "sensitivity_mv_per_g": float("inf")}, "finite"),
        ({**IEPE, "unit": "mm/s"}, "unit 'mm/s' of type accelerometer; expected g or m/s2"),
        ({**IEPE, "min": -1.0, "max": 1.0}, "'max' is for voltage and iepe_voltage and thermo"),
        ({**IEPE, "coupling": "gnd"}, "'ac' or 'dc'"),
        ({**IEPE, "sensitivity": 100.0}, "Extra inputs are not permitted"),
        ({**IEPE, "type": "accel"}, "'accelerometer', 'voltage', 'iepe_voltage'"),
        ({"address": "Dev1/ai0"}, "Field required"),
        ({**VOLTS, "excitation_ma": 2.0}, "'excitation_ma' is for accelerometer and iepe_voltage"),
        ({**VOLTS, "min": 0.0}, "'min' and 'max' are given together"),
        ({**VOLTS, "min": 5.0, "max": 5.0}, "'min' 5 is not below 'max' 5"),
        ({**VOLTS, "min": 0.0, "max": 5.0, "range_v": 5.0}, "exclude each other"),
        ({**VOLTS, "scale": 0.0}, "'scale' is 0"),
        ({**VOLTS, "sensitivity_mv_per_g": 100.0}, "'sensitivity_mv_per_g' is for accelerometer"),
        ({"address": "Dev1/ai0", "type": "thermocouple"}, "'thermocouple_type' is missing"),
        ({**K, "thermocouple_type": "Q"}, "'B', 'E', 'J', 'K'"),
        ({**K, "unit": "K"}, "unit 'K' of type thermocouple; expected degC"),
        ({**K, "scale": 2.0}, "'scale' is for voltage and iepe_voltage"),
        ({**RTD, "wires": 5}, "2, 3 or 4"),
        ({"type": "voltage"}, "the address is missing; expected a device and an input, e.g."),
        ({**VOLTS, "address": "Dev1"}, "'Dev1' is not a physical channel; expected"),
    ],
)
def test_a_wrong_channel_is_explained(channel: dict[str, Any], said: str) -> None:
    message = refused(channel)
    assert said in message, message


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"grpc": "daq-pc"}, "'daq-pc' is not host and port; expected e.g. 'daq-pc:31763'"),
        ({"grpc": "daq-pc:0"}, "is not host and port"),
        ({"grpc": "daq-pc:70000"}, "is not host and port"),
        ({"grpc": "fd00::7:31763"}, "'[fd00::7]:31763'"),
        ({"grpc": "192.168.0.300:31763"}, "'192.168.0.300' is not an IP address"),
        ({"grpc": "http://daq-pc:31763"}, "is not host and port"),
        ({"grpc": "daq pc:31763"}, "'daq pc' is not a name or IP address"),
        ({"grpc_ca_file": "ca.pem"}, "'grpc_ca_file' belongs to 'grpc', which is not given"),
        ({"buffer_s": 4.0}, "greater than or equal to 5"),
        ({"host": "daq-pc"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_setting_is_explained(config: dict[str, Any], said: str) -> None:
    message = refused(**config)
    assert said in message, message


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("daq-pc:31763", Endpoint("daq-pc", 31763)),
        ("192.168.0.7:1", Endpoint("192.168.0.7", 1)),
        ("[fd00::7]:31763", Endpoint("fd00::7", 31763)),
    ],
)
def test_where_the_server_is(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["cDAQ1Mod1/ai0", "Dev1/ai31", "PXI1Slot2/ai7", "cDAQ9189-1A2B3C4Mod2/ai1", "my_card/ai0"],
)
def test_an_address_is_kept_as_it_is_written(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("cDAQ1Mod1.ai0", "cDAQ1Mod1/ai0"),
        ("/cDAQ1Mod1/ai0", "cDAQ1Mod1/ai0"),
        ("cDAQ1Mod1\\ai3", "cDAQ1Mod1/ai3"),
        ("cDAQ1Mod1/3", "cDAQ1Mod1/ai3"),
        ("cDAQ1Mod1/a3", "cDAQ1Mod1/ai3"),
        ("cDAQ1Mod1 ai3", "cDAQ1Mod1/ai3"),
        ("cDAQ1Mod1ai3", "cDAQ1Mod1/ai3"),
        ("cDAQ1/Mod1/ai3", "cDAQ1Mod1/ai3"),
        ("cDAQ1Mod1/ai0:3", "cDAQ1Mod1/ai0"),
        ("cDAQ1Mod1/ai0,cDAQ1Mod1/ai1", "cDAQ1Mod1/ai0"),
    ],
)
def test_a_misspelt_address_is_answered_with_the_nearest(text: str, nearest: str) -> None:
    with pytest.raises(ValueError, match="did you mean") as caught:
        parse(text)
    assert f"did you mean '{nearest}'?" in str(caught.value)
    assert str(parse(nearest)) == nearest


@pytest.mark.parametrize("text", ["Dev1/ao0", "Dev1/port0/line3", "Dev1/ctr0"])
def test_only_analogue_inputs_can_be_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no analogue input, and nothing else is read"):
        parse(text)


def test_all_faults_come_at_once_with_their_places() -> None:
    channels = {
        "a": {"address": "Dev1/ai0", "type": "voltage"},
        "b": {"address": "dev1/AI0", "type": "voltage"},
        "c": {"address": "Dev1.ai1", "type": "voltage"},
    }
    message = refused_all(channels)
    assert "map.yaml:2:1: b: 'dev1/AI0' is a channel already (line 1)" in message
    assert "map.yaml:3:1: c: 'Dev1.ai1' is not a physical channel" in message


def refused_all(channels: dict[str, dict[str, Any]]) -> str:
    with pytest.raises(ConfigError) as caught:
        make(channels)
    return str(caught.value)


# -- what follows from the settings ---------------------------------------------------------------


def limits(**spec: Any) -> tuple[float, float]:
    return NidaqChannel.model_validate({"address": "Dev1/ai0", **spec}).limits


def test_limits_follow_from_range_and_sensitivity() -> None:
    assert limits(**ACCELEROMETER) == (-50.0, 50.0)
    assert limits(**ACCELEROMETER, range_v=2.5) == (-25.0, 25.0)
    assert limits(**ACCELEROMETER, unit="m/s2") == pytest.approx((-490.3325, 490.3325))
    assert limits(type="voltage") == (-10.0, 10.0)
    assert limits(type="voltage", min=0.4, max=2.0) == (0.4, 2.0)
    assert limits(type="iepe_voltage") == (-5.0, 5.0)
    assert limits(type="rtd") == (-200.0, 850.0)
    assert limits(type="thermocouple", thermocouple_type="T") == (-200.0, 400.0)
    assert limits(type="thermocouple", thermocouple_type="T", min=0.0, max=90.0) == (0.0, 90.0)


def test_a_channel_says_its_full_scale_unit_and_setup() -> None:
    driver = make(
        {
            "a": {"address": "Dev1/ai0", **ACCELEROMETER},
            # 4 to 20 mA over 100 ohm, for 0 to 16 bar
            "b": {
                "address": "Dev1/ai1",
                "type": "voltage",
                "min": 0.4,
                "max": 2.0,
                "scale": 10.0,
                "offset": -4.0,
                "unit": "bar",
            },
            "c": {**K, "address": "Dev1/ai2"},
            "d": {"address": "Dev1/ai3", **ACCELEROMETER, "full_scale": 30.0, "noise_floor": 0.001},
        }
    )
    a, b, c, d = driver.channels
    assert (a.name, a.unit, a.full_scale) == ("a", "g", 50.0)
    assert a.noise_floor == pytest.approx(1e-4)
    assert dict(a.setup) == {
        "address": "Dev1/ai0",
        "type": "accelerometer",
        "sensitivity_mv_per_g": 100.0,
        "range_v": 5.0,
        "excitation_ma": 2.0,
        "coupling": "ac",
        "terminal": "default",
    }
    assert b.unit == "bar"
    assert b.full_scale == pytest.approx(16.0)
    assert dict(b.setup)["scale"] == 10.0
    assert (c.unit, c.full_scale, c.noise_floor) == ("degC", None, None)
    assert dict(c.setup)["cold_junction_degc"] == "built_in"
    assert (d.full_scale, d.noise_floor) == (30.0, 0.001)


def test_a_sensor_fed_by_something_else_gets_no_current_and_no_coupling() -> None:
    channel = NidaqChannel.model_validate({**IEPE, "excitation_ma": 0.0})
    assert not channel.is_fed
    assert channel.coupled is None


def test_a_driver_can_be_pickled() -> None:
    driver = make(FOUR, grpc="daq-pc:31763", buffer_s=20.0)
    copy: NidaqDriver = pickle.loads(pickle.dumps(driver))
    assert copy.channels == driver.channels
    assert copy.inputs == driver.inputs
    assert copy.config == driver.config


def test_the_status_is_there_before_a_connection() -> None:
    assert make(FOUR, grpc="daq-pc:31763").status() == {
        "route": "grpc",
        "endpoint": "daq-pc:31763",
        "channels": 4,
        "overruns": 0,
        "buffer_s": 10.0,
    }
    assert make(FOUR).status()["endpoint"] == "NI-DAQmx"


def test_the_readme_names_every_code_with_its_reason() -> None:
    lines = (ROOT / "drivers" / "nidaq" / "README.md").read_text("utf-8").splitlines()
    for code in codes.OVERRUNS:
        assert any(line.startswith("| overrun") and str(code) in line for line in lines), code
    for code, reason in codes.REASONS.items():
        rows = ("| nothing within",) if code == codes.NOT_YET_AVAILABLE else (f"| `{reason}`",)
        assert any(line.startswith(rows) and str(code) in line for line in lines), code


def test_nothing_of_the_vendor_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from tests.drivers.nidaq_support import make, FOUR; make(FOUR).close();"
        "print([m for m in ('nidaqmx', 'grpc', 'google.protobuf') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
