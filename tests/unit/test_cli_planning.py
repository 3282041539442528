"""What `gateway plan` and `gateway check` reckon: costs of requests, overloads, days that fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.commands.config import keeping
from gateway.commands.planning import Line, line_of, overloads, plan_device
from gateway.config import load
from gateway.driver import PlannedRequest, PolledDriver
from gateway.sinks.historian.sink import HistorianConfig
from tests.system.cli_kit import METER, PRESS, plant

REQUEST = PlannedRequest("x", tags=10, bytes=100)


def test_a_request_on_a_lan_costs_its_round_trip_whatever_its_size() -> None:
    assert Line().request_s(REQUEST) == 0.005
    assert Line(pause_s=0.02).request_s(REQUEST) == pytest.approx(0.025)


def test_a_request_on_a_serial_line_costs_its_characters_and_silences() -> None:
    # 9600 baud: 8 + 5 + 100 characters of 11 bits, twice 3.5 characters, 10 ms for the device
    expected = (113 + 7) * 11 / 9600 + 0.010
    assert Line(9600, network=False).request_s(REQUEST) == pytest.approx(expected)
    # above 19200 baud the silence is 1.75 ms, however fast the line
    expected = 113 * 11 / 115200 + 2 * 0.00175 + 0.010
    assert Line(115200, network=False).request_s(REQUEST) == pytest.approx(expected)


def test_the_assumption_names_what_the_estimate_took() -> None:
    assert Line().assumption == "5 ms for each request and its answer on a LAN"
    assert "9600 baud at 11 bits a character" in Line(9600, network=False).assumption
    assert "9600 baud behind the converter" in Line(9600, network=True).assumption
    assert "pause of 20 ms" in Line(pause_s=0.02).assumption


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (METER % 502, Line()),
        ("  m: {driver: modbus, serial: /dev/x, baud: 2400, map: modbus.yaml}\n",
         Line(2400, network=False)),
        ("  m: {driver: modbus, host: h, transport: rtu_over_tcp, "
         "pause_between_requests_s: 0.02, map: modbus.yaml}\n", Line(9600, pause_s=0.02)),
    ],
)  # fmt: skip
def test_the_line_is_that_of_the_device(tmp_path: Path, device: str, expected: Line) -> None:
    (driver,) = load(plant(tmp_path, device)).devices.values()
    assert line_of(driver) == expected


def test_devices_that_share_a_bus_are_reckoned_together(tmp_path: Path) -> None:
    devices = "".join(f"  m{i}: {{bus: b, unit: {i}, map: modbus.yaml}}\n" for i in range(1, 9))
    bus = "buses:\n  b: {driver: modbus, serial: /dev/x, baud: 9600}\n"
    file = plant(tmp_path, devices)
    file.write_text(file.read_text() + bus)
    ((name, plans),) = [
        (b.name, [plan_device(d) for d in b.devices if isinstance(d, PolledDriver)])
        for b in load(file).buses
    ]
    assert all(plan.share < 0.7 for plan in plans)
    (warning,) = overloads(name, plans)
    assert warning.startswith("bus 'b': its polls take about ")
    assert overloads(name, plans[:1]) == []


def test_days_that_fit_count_what_is_stored_not_what_is_read(tmp_path: Path) -> None:
    (driver,) = load(plant(tmp_path, PRESS)).devices.values()
    assert isinstance(driver, PolledDriver)
    plans = [plan_device(driver)]  # 2 values every 0.1 s
    every, thinned = (
        keeping(plans, HistorianConfig(type="sqlite", store_every_s=s)) for s in (0.0, 10.0)
    )
    assert (every["stored_values_per_s"], thinned["stored_values_per_s"]) == (20, 0.2)
    assert thinned["days_that_fit"] == pytest.approx(100 * every["days_that_fit"], rel=1e-3)
    double = keeping(plans * 2, HistorianConfig(type="sqlite", store_every_s=0.0))
    assert double["days_that_fit"] == pytest.approx(every["days_that_fit"] / 2, abs=0.01)
