"""Looks at an NI card: does it sample, and how fast really."""

from __future__ import annotations

from typing import Any

from gateway.commands.firststeps import trial
from gateway.commands.firststeps.found import Found, FoundDevice
from gateway.commands.firststeps.wishes import NidaqAt
from gateway.driver import StreamDriver
from gateway.errors import DeviceUnavailable

RATE_HZ = 2560
"""That nearly every card can: modules for vibration begin at some 1.6 kHz."""
TIMEOUT_S = 5.0

HINTS_LOCAL = (
    "is NI-DAQmx installed, and does it see the card? try: nilsdev",
    "the name of the card or module: NI MAX or nilsdev show it, e.g. cDAQ1Mod1, Dev1",
    "is another program sampling with it? a card serves one at a time",
)
HINTS_GRPC = (
    "does the NI gRPC Device Server run there, and does a firewall let its port through?",
    "does the server listen on all addresses (\"address\": \"[::]\" in server_config.json)?",
    "name the card as it is called there: --nidaq {grpc}/cDAQ1Mod1",
)  # fmt: skip


def look(wish: NidaqAt, name: str) -> Found:
    """Sample its first input for a moment."""
    with trial.drivers({name: _settings(wish)}, _trial_map(wish.card)) as made:
        driver = made[name]
        try:
            driver.connect()
            if not isinstance(driver, StreamDriver):
                raise TypeError(f"{name} does not stream")
            block = driver.read_block()
            facts = driver.status()
            devices = facts.get("devices") or wish.card
            said = [f"samples: {devices}; asked for {RATE_HZ} Hz, it gives {block.rate_hz:g} Hz"]
            found = Found(wish.where, True, said)
        except DeviceUnavailable as error:
            found = Found(wish.where, False, [f"no samples: {error}"])
            hints = HINTS_GRPC if wish.grpc else HINTS_LOCAL
            found.hints += [hint.format(grpc=wish.grpc) for hint in hints]
    settings = {**_settings(wish), "map": f"maps/{name}.yaml"}
    found.devices.append(FoundDevice(name, settings))
    found.map_text = map_text(name, wish.card)
    return found


def _settings(wish: NidaqAt) -> dict[str, Any]:
    grpc = {"grpc": wish.grpc} if wish.grpc else {}
    return {"driver": "nidaq", **grpc, "timeout_s": TIMEOUT_S}


def _trial_map(card: str) -> str:
    return (
        f"driver: nidaq\nstream:\n  rate_hz: {RATE_HZ}\n  channels:\n"
        f'    ai0: {{address: "{card}/ai0", type: voltage}}\n'
    )


def map_text(name: str, card: str) -> str:
    """A starter map."""
    return f"""\
# Device map of {name}: which inputs are sampled, and what is computed of them.
#
# An accelerometer is one line, with the sensitivity from its calibration sheet:
#
#   drive_end: {{address: "{card}/ai0", type: accelerometer, sensitivity_mv_per_g: 100.2}}
#
# Types: accelerometer, voltage, iepe_voltage, thermocouple, rtd.
driver: nidaq

stream:
  rate_hz: {RATE_HZ} # all channels; 25600 for bearings
  channels:
    # a placeholder: put your own channels in its place
    ai0: {{address: "{card}/ai0", type: voltage, unit: V}}

  analysis:
    window_s: 1 # features are computed of this long a window
    publish_every_s: 1 # ... and stored so often
    # speed: 1485 # rpm of the shaft, or a tag of a PLC: "plc_1.process.speed_rpm"
    # bearing: 6205
    # zones: iso_20816_3_group_2_rigid
"""
