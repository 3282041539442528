"""What a column shows when nobody said: a likely signal by its unit, its name and its kind."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from drivers.mock.channels import Mixture
from drivers.mock.rows import Shape
from drivers.mock.signals import Counter, Signal, Sine, Square, Steps, Walk
from gateway.decode import Scaling
from gateway.driver import Settings
from gateway.model import Kind, Table

S = TypeVar("S", bound=Settings)

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_FAULTS = {"err", "error", "fault", "alarm", "trip", "warning", "failure"}
_COUNTS = {"count", "counter", "total", "energy", "strokes", "cycles", "pieces", "runtime"}
_COUNTED_UNITS = {
    "kWh": 0.005, "MWh": 5e-6, "Wh": 5.0, "kvarh": 0.001, "varh": 1.0, "VAh": 5.2, "kVAh": 0.0052,
    "m3": 0.01, "l": 1.0, "kg": 0.5, "t": 5e-4, "h": 1 / 3600, "pcs": 0.5,
}  # fmt: skip
"""Unit -> counts a second."""

_LEVELS: dict[str, tuple[float, float, float]] = {
    "degC": (25, 5, 0.05), "°C": (25, 5, 0.05), "K": (298, 5, 0.05), "degF": (77, 9, 0.1),
    "%": (50, 30, 0.2), "W": (5000, 2000, 50), "kW": (50, 20, 0.5), "kvar": (12, 4, 0.2),
    "kVA": (52, 20, 0.5), "V": (230, 3, 0.3), "kV": (10, 0.2, 0.01), "A": (40, 15, 0.3),
    "mA": (12, 4, 0.02), "Hz": (50, 0.05, 0.005), "rpm": (1480, 15, 1), "bar": (6, 0.5, 0.02),
    "mbar": (1013, 4, 0.1), "hPa": (1013, 4, 0.1), "kPa": (600, 50, 2), "Pa": (250, 50, 5),
    "mm/s": (2, 0.8, 0.1), "m/s": (3, 1, 0.05), "m/s2": (4, 2, 0.4), "g": (0.4, 0.2, 0.04),
    "mm": (100, 40, 0.1), "um": (30, 10, 1), "m": (4, 1.5, 0.01), "ug/m3": (45, 20, 2),
    "mg/m3": (2, 1, 0.1), "ppm": (420, 60, 3), "pH": (7, 0.5, 0.02), "l/min": (80, 20, 1),
    "m3/h": (12, 3, 0.1), "kg/h": (900, 100, 5), "kN": (300, 150, 2), "Nm": (120, 40, 1),
    "s": (12, 3, 0.1), "ms": (40, 10, 1), "factor": (3, 0.4, 0.05),
}  # fmt: skip
"""Unit -> middle, swing, noise."""

_STREAMED = {"g": 1.0, "m/s2": 9.80665, "mm/s": 10.0}
"""Unit of a vibration -> what is about as much as 1 g."""

_BY_WORD = {
    "temperature": "degC", "temp": "degC", "pressure": "bar", "humidity": "%", "level": "%",
    "cf": "factor", "k": "factor", "kurtosis": "factor", "crest": "factor",
    "current": "A", "voltage": "V", "power": "kW", "speed": "rpm", "flow": "m3/h",
}  # fmt: skip


def likely_shapes(table: Table) -> list[Shape]:
    """What the columns of a real device's table may show, as they are after scaling."""
    return [
        Shape(likely_signal(name, kind, unit), kind, Scaling())
        for name, kind, unit in zip(table.columns, table.kinds, table.units, strict=True)
    ]


def likely_signal(name: str, kind: Kind, unit: str | None) -> Signal:
    """A signal that suits the column's value after scaling.

    All values stay within 0..100 where neither unit nor name speaks, which fits every type.
    """
    words = {word.lower() for word in _WORDS.findall(name)}
    if kind == "str":
        return _make(Steps, "steps", values=["idle", "running", "stopping"], hold_s=30.0)
    if words & _FAULTS:
        return _make(Square, "square", period_s=900.0, duty=0.01)
    if kind == "b1":
        return _make(Square, "square", period_s=120.0, duty=0.7)
    if unit in _COUNTED_UNITS:
        return _make(Counter, "counter", rate_per_s=_COUNTED_UNITS[unit])
    if unit in _LEVELS:
        return _level(unit, kind)
    if words & _COUNTS and unit is None:
        return _make(Counter, "counter", rate_per_s=0.5)
    by_word = [_BY_WORD[word] for word in sorted(words & _BY_WORD.keys())]
    return _level(by_word[0] if by_word and unit is None else "", kind)


def likely_stream(unit: str, rate_hz: float) -> Any:
    """What a channel of this unit may show: a pump, a slow temperature, a small sine."""
    slow_hz = min(1.0 / 600.0, rate_hz / 100.0)
    parts: list[dict[str, Any]]
    if unit in _STREAMED and rate_hz > 200.0:
        one_g = _STREAMED[unit]
        parts = [
            {
                "kind": "shaft", "speed_hz": 24.7, "imbalance": 0.08 * one_g,
                "misalignment_2x": 0.03 * one_g, "noise": 0.02 * one_g,
            }
        ]  # fmt: skip
    elif unit in _LEVELS and unit not in ("V", *_STREAMED):
        middle, swing, noise = _LEVELS[unit]
        tone = {"hz": slow_hz, "amplitude": swing}
        parts = [{"kind": "sines", "mean": middle, "tones": [tone], "noise": noise}]
    else:
        tone = {"hz": min(5.0, rate_hz / 20.0), "amplitude": 0.1}
        parts = [{"kind": "sines", "tones": [tone], "noise": 0.001}]
    return Mixture.model_validate({"kind": "sum", "of": parts}).of[0]


def _level(unit: str, kind: Kind) -> Signal:
    middle, swing, noise = _LEVELS.get(unit, (50.0, 50.0, 0.0))
    if kind in ("i8", "u8"):
        return _make(Walk, "walk", low=middle - swing, high=middle + swing, hold_s=15.0)
    return _make(Sine, "sine", mean=middle, amplitude=swing, period_s=120.0, noise=noise)


def _make(signal: type[S], kind: str, **settings: Any) -> S:
    return signal.model_validate({"kind": kind, **settings})
