"""What the channels of a mock stream are to show, and whether that can be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from drivers.mock.bearing import Impacts, impact_rates
from drivers.mock.channels import (
    Bearing,
    Clipping,
    Mixture,
    MockChannel,
    Noise,
    OpenCircuit,
    Shaft,
    Sines,
)
from drivers.mock.replay import Player, check_replay
from drivers.mock.settings import POLLED_ONLY
from drivers.mock.standin import likely_stream
from drivers.mock.synth import TURN, Orders, Part, Tones, White, Workshop
from drivers.mock.waves import draw, uniform
from gateway.driver import ChannelSpec, DeviceConfig, StreamSpec
from gateway.errors import Fault, Place
from gateway.model import Channel

_FULL_SCALES = {"g": 50.0, "m/s2": 490.0, "V": 10.0, "mm/s": 200.0}
"""Unit -> full scale of an input where nobody said: 5 V at 100 mV/g, and a +-10 V input."""

MAX_RING_S = 0.25


class Plan(NamedTuple):
    """One channel: a signal or a recording, and perhaps a faulty sensor."""

    channel: Channel
    signal: Any
    player: Player | None = None
    fault: Any = None


def stream_faults(name: str, config: DeviceConfig, file: str) -> list[Fault]:
    """Settings of a device that mean nothing where it streams."""
    faults = []
    for key in POLLED_ONLY:
        if key in config.model_fields_set:
            place = Place(file, 0, 0, f"devices.{name}.{key}")
            faults.append(place.fault("a stream has no polls that could take longer; use `delay`"))
    for key in ("delay", "dropout"):
        window = getattr(config, key, None)
        if window is not None and window.groups:
            place = Place(file, 0, 0, f"devices.{name}.{key}.groups")
            faults.append(place.fault("a stream has no groups; leave it out"))
    return faults


def plan_channel(
    given: ChannelSpec, stream: StreamSpec, file: str, faults: list[Fault]
) -> Plan | None:
    """What a channel shows; None where it cannot be, which adds to ``faults``."""
    spec = cast(MockChannel, given.spec)
    player = None
    signal = spec.signal
    full_scale = spec.full_scale
    wrong = []
    if spec.address is not None:
        wrong.append("a channel of the mock has no address; leave it out")
    if spec.replay is not None:
        path = Path(file).absolute().parent / spec.replay.file
        player = Player(spec.replay, path, full_scale)
        message = check_replay(spec.replay, path, stream.rate_hz)
        if message is not None:
            wrong.append(message)
        about: tuple[tuple[str, str | float | int | bool], ...] = (
            ("signal", "replay"),
            ("file", spec.replay.file.name),
            ("scale", spec.replay.scale),
        )
    else:
        if signal is None:
            signal = likely_stream(spec.unit, stream.rate_hz)
        full_scale = full_scale or _FULL_SCALES.get(spec.unit)
        wrong += _too_fast(signal, stream.rate_hz)
        about = (("signal", signal.kind),)
    if isinstance(spec.fault, (OpenCircuit, Clipping)) and full_scale is None:
        wrong.append(f"fault: {spec.fault.kind} shows the full scale; give full_scale")
    faults += [given.place.fault(message) for message in wrong]
    if wrong:
        return None
    channel = Channel(given.name, spec.unit, full_scale, spec.noise_floor, about)
    return Plan(channel, signal, player, spec.fault)


def _too_fast(signal: Any, rate_hz: float) -> Iterator[str]:
    """Frequencies that samples of this rate cannot show (Shannon)."""
    for part in signal.of if isinstance(signal, Mixture) else [signal]:
        if isinstance(part, Sines):
            found = [(f"tones: hz: {t.hz:g}", t.hz) for t in part.tones]
        elif isinstance(part, Shaft):
            orders = ((1, part.imbalance), (2, part.misalignment_2x), (3, part.misalignment_3x))
            found = [(f"{n}x = {n * part.hz:g} Hz", n * part.hz) for n, height in orders if height]
        elif isinstance(part, Bearing):
            impacts_hz = impact_rates(part)[0] * part.hz
            found = [
                (f"resonance_hz: {part.resonance_hz:g}", part.resonance_hz),
                (f"{impacts_hz:g} impacts a second", impacts_hz),
            ]
            ring_s = math.log(1e5) / (2.0 * math.pi * part.resonance_hz * part.damping)
            if ring_s > MAX_RING_S:
                yield (
                    f"the resonance rings for {ring_s:.2g} s; expected at most {MAX_RING_S:g} s: "
                    "raise resonance_hz or damping"
                )
        else:
            continue
        for text, hz in found:
            if hz >= rate_hz / 2.0:
                yield f"{text} is too fast for rate_hz: {rate_hz:g}; expected less than its half"


def parts_of(spec: Any, shop: Workshop, key: int) -> list[Part]:
    """The parts that a signal of YAML is made of; each has a key of its own."""
    parts: list[Part] = []
    for i, term in enumerate(spec.of if isinstance(spec, Mixture) else [spec]):
        its_key = draw(key, i)
        if isinstance(term, Sines):
            tones = [(t.hz, t.amplitude, math.radians(t.phase_deg)) for t in term.tones]
            parts.append(Tones(shop, tones, term.mean))
        elif isinstance(term, Shaft):
            parts.append(_shaft(shop, term, its_key))
        elif isinstance(term, Noise):
            parts.append(White(shop, its_key, term.rms))
        else:
            parts.append(Impacts(shop, term, its_key))
        if noise := getattr(term, "noise", 0.0):
            parts.append(White(shop, draw(its_key, "noise"), noise))
    return parts


def _shaft(shop: Workshop, spec: Shaft, key: int) -> Part:
    heights = (spec.imbalance, spec.misalignment_2x, spec.misalignment_3x)
    keys = np.array([draw(key, order) for order in (1, 2, 3)], "u8")
    starts = (TURN * uniform(keys, 0)).tolist()
    orders = [(n, h, s) for n, h, s in zip((1, 2, 3), heights, starts, strict=True) if h]
    if spec.wander or spec.degradation:
        return Orders(shop, spec, orders)
    return Tones(shop, [(n * spec.hz, h, s) for n, h, s in orders])
