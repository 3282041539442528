"""A local fault of a rolling bearing as a train of impacts.

Sources: McFadden and Smith, "Model for the vibration produced by a single point defect in a rolling
element bearing", J. Sound Vib. 96 (1984): impacts that ring, weighted by the load at the place of
the fault; Randall and Antoni, "Rolling element bearing diagnostics - a tutorial", Mech. Syst.
Signal Process. 25 (2011): the rates, and the slip of 1 to 2 % that adds up from impact to impact.
"""

from __future__ import annotations

import math

import numpy as np

from drivers.mock import channels
from drivers.mock.synth import CHUNK, TURN, Growth, Rotation, Workshop
from drivers.mock.waves import draw, uniform
from gateway.model import Array

RUN = 1024
"""Impacts over which slip adds up before it is back at zero, so that any of them can be found."""

USUAL_CAGE = 0.4
"""Turns of the cage in one turn of the shaft, where no geometry says it."""


def impact_rates(spec: channels.Bearing) -> tuple[float, float]:
    """(impacts, turns of the load about the fault), both in one turn of the shaft.

    For the outer ring the second is 0: its fault stays where it is in the load zone.
    """
    impacts, cage = spec.impacts_per_rev, USUAL_CAGE
    if spec.elements and spec.ball_mm and spec.pitch_mm:
        ratio = spec.ball_mm / spec.pitch_mm * math.cos(math.radians(spec.angle_deg))
        cage = (1.0 - ratio) / 2.0
        impacts = {
            "outer": spec.elements / 2.0 * (1.0 - ratio),
            "inner": spec.elements / 2.0 * (1.0 + ratio),
            # twice the spin: a spot of the ball strikes both rings
            "ball": spec.pitch_mm / spec.ball_mm * (1.0 - ratio**2),
        }[spec.fault]
    return impacts or 0.0, {"outer": 0.0, "inner": 1.0, "ball": cage}[spec.fault]


class Impacts:
    """The vibration of one fault; see `synth.Part`."""

    def __init__(self, shop: Workshop, spec: channels.Bearing, key: int) -> None:
        self._shop = shop
        self._key = draw(key, "slip")
        self._rotation = Rotation(spec)
        self._growth = Growth(spec.degradation)
        self._per_turn, self._load_per_turn = impact_rates(spec)
        self._slip = spec.slip
        self._start = float(uniform(np.array([draw(key, "load")], "u8"), 0)[0])
        # Stribeck's load distribution about the ring, with the exponent 3/2 of a ball's contact
        self._reach = 2.0 * spec.load_zone
        # the furthest that slip can carry an impact, of a run's standard deviation sqrt(RUN) / 2
        self._spread = min(6.0 * spec.slip * math.sqrt(RUN) / 2.0, 3.0)
        self._runs: dict[int, Array] = {}
        decay = TURN * spec.resonance_hz * spec.damping
        ringing = TURN * spec.resonance_hz * math.sqrt(1.0 - spec.damping**2)
        # the crest of exp(-decay t) sin(ringing t), so that `amplitude` is what is seen
        crest_s = math.atan2(ringing, decay) / ringing
        self._height = spec.amplitude / (math.exp(-decay * crest_s) * math.sin(ringing * crest_s))
        self._decay, self._ringing = decay, ringing
        length = max(1, math.ceil(math.log(1e5) / decay * shop.rate_hz))
        time_s = np.arange(length) / shop.rate_hz
        envelope = np.exp(-decay * time_s)
        waves = (envelope * np.cos(ringing * time_s), envelope * np.sin(ringing * time_s))
        self._waves = np.array(waves, "f4")

    def add(self, out: Array, first: int) -> None:
        """See `synth.Part`."""
        rate_hz, length = self._shop.rate_hz, self._waves.shape[1]
        span_s = np.array([first - length, first + CHUNK]) / rate_hz
        low, high = (self._rotation.turns(span_s) * self._per_turn).tolist()
        numbers = np.arange(math.floor(low - self._spread), math.ceil(high + self._spread) + 1)
        turns = (numbers + self._slipped(numbers)) / self._per_turn
        time_s = self._rotation.time_s(turns)
        begin = np.ceil(time_s * rate_hz)
        late_s = begin / rate_hz - time_s
        height = self._height * self._load(turns) * self._growth.factor(time_s)
        height = height * np.exp(-self._decay * late_s)
        turned = self._ringing * late_s
        weights = np.stack([height * np.sin(turned), height * np.cos(turned)], axis=1)
        begin = begin.astype("i8") - first
        felt = (height != 0.0) & (begin > -length) & (begin < CHUNK)
        rings = weights[felt].astype("f4") @ self._waves
        for at, ring in zip(begin[felt].tolist(), rings, strict=True):
            if at < 0:
                ring, at = ring[-at:], 0
            part = out[at : at + ring.size]
            part += ring[: part.size]

    def _slipped(self, numbers: Array) -> Array:
        """By how many impacts each is late: a random walk that returns to 0 after every run."""
        if not self._slip:
            return np.zeros(numbers.size)
        runs = range(int(numbers[0]) // RUN, int(numbers[-1]) // RUN + 1)
        for gone in self._runs.keys() - set(runs):
            del self._runs[gone]
        for run in runs:
            if run not in self._runs:
                steps = self._shop.gaussian(self._key, run, np.empty(RUN, "f4")).astype("f8")
                walk = self._slip * np.cumsum(steps)
                walk -= walk[-1] * np.arange(1, RUN + 1) / RUN
                self._runs[run] = np.clip(walk, -self._spread, self._spread)
        walks = np.concatenate([self._runs[run] for run in runs])
        slipped: Array = walks[numbers - runs[0] * RUN]
        return slipped

    def _load(self, turns: Array) -> Array | float:
        """The load where the fault is, as a part of the largest."""
        if not self._load_per_turn:
            return 1.0
        away = 1.0 - np.cos(TURN * (self._load_per_turn * turns + self._start))
        load: Array = np.maximum(1.0 - away / self._reach, 0.0) ** 1.5
        return load
