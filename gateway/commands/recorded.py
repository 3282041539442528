"""What `gateway features` computes of a recording, and how it is printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gateway.commands.console import WrongUsage, table
from gateway.terminal import count, number, printable

if TYPE_CHECKING:
    from gateway.features.engine import Engine
    from gateway.features.spec import Spec
    from gateway.recordings import Recording

SHOWN = ("rms", "peak", "crest", "kurtosis", "velocity_rms", "bpfo_ratio", "bpfi_ratio",
         "bsf2_ratio")  # fmt: skip
"""Features of which every window is printed; of the others only median and spread."""


def spec(
    found: Recording,
    whole_samples: int,
    unit: str | None,
    rpm: float | None,
    bearing: str | None,
    geometry: str | None,
    window_s: float,
    hop_s: float,
    velocity_band: str,
    envelope_band: str | None,
    *,
    whole: bool,
) -> Spec:
    """What is to be computed, from the options of the command line; WrongUsage in their words."""
    from gateway.features.bearings import find_bearing, parse_geometry
    from gateway.features.spec import Spec, fast_length

    if bearing is not None and geometry is not None:
        raise WrongUsage("--bearing and --geometry exclude each other")
    if (bearing is not None or geometry is not None) and rpm is None:
        raise WrongUsage("the lines of a bearing need the speed of the shaft; add --rpm")
    try:
        its = parse_geometry(geometry) if geometry is not None else None
        if bearing is not None:
            its = find_bearing(bearing).geometry
        samples, hop = fast_length(found.rate_hz, window_s, hop_s)
        if whole:
            samples = hop = whole_samples - whole_samples % 2
        low, high = band("--velocity-band", velocity_band)
        return Spec(
            rate_hz=found.rate_hz,
            samples=samples,
            hop=hop,
            unit=unit or found.unit or "g",
            # a slow recording has less of the band, and says so
            velocity_band_hz=(low, min(high, found.rate_hz / 2)),
            envelope_band_hz=band("--envelope-band", envelope_band) if envelope_band else None,
            has_speed=rpm is not None,
            bearing=its,
        )
    except ValueError as error:
        said = str(error).replace("velocity_band_hz", "--velocity-band")
        said = said.replace("envelope_band_hz", "--envelope-band")
        said += " (--window-s)" if said.startswith("a window") and not whole else ""
        raise WrongUsage(said) from error


def band(option: str, text: str) -> tuple[float, float]:
    """Two frequencies written as ``10,1000``."""
    parts = text.split(",")
    try:
        low, high = map(float, parts)
    except ValueError:
        raise WrongUsage(f"{option} '{text}'; expected two numbers such as 10,1000") from None
    return low, high


def plain(names: Sequence[str], row: Sequence[float]) -> dict[str, float | None]:
    """Features by name; None where there is no number, as JSON has none."""
    values = [float(v) for v in row]
    return {n: v if math.isfinite(v) else None for n, v in zip(names, values, strict=True)}


def described(found: Recording, spec: Spec, windows: int, rpm: float | None) -> list[str]:
    """What was computed of what."""
    low, high = spec.velocity_band_hz
    text = (
        f"{found.path.name} {found.channel}: {len(found.data)} samples at {found.rate_hz:g} Hz, "
        f"{spec.unit}; {count(windows, 'window')} of {spec.samples / spec.rate_hz:g} s"
    )
    lines = [printable(text)]
    if spec.is_acceleration:
        lines.append(f"velocity {low:g} to {high:g} Hz")
    else:
        lines.append(printable(f"no velocity: '{spec.unit}' is no acceleration in g or m/s2"))
    if spec.envelope_hz is not None:
        lines.append("envelope {:g} to {:g} Hz".format(*spec.envelope_hz))
    if spec.bearing is not None and rpm is not None:
        known = spec.bearing.multiples().items()
        told = ", ".join(f"{name} {part * rpm / 60:.2f}" for name, part in known)
        lines.append(f"calculated lines of the bearing at {rpm:g} rpm, in Hz: {told}")
    return lines


def window_table(names: Sequence[str], values: Any, spec: Spec) -> list[str]:
    """A line for each window; ``values`` [window, feature]."""
    picked = [n for n in SHOWN if n in names]
    columns = [names.index(n) for n in picked]
    rows = []
    for index, row in enumerate(values):
        end_s = (spec.samples + index * spec.hop) / spec.rate_hz
        rows.append([f"{end_s:.2f}", *(shown(row[c]) for c in columns)])
    return table(rows, ("END S", *(n.upper() for n in picked)), right=range(len(picked) + 1))


def summary(engine: Engine, values: Any) -> list[str]:
    """Every feature: its median and spread, or its value where there is one window."""
    import numpy as np

    rows = []
    if len(values) == 1:
        for feature, value in zip(engine.features, values[0], strict=True):
            rows.append([feature.name, shown(value), feature.unit])
        return table(rows, ("FEATURE", "VALUE", "UNIT"), right=(1,))
    for index, feature in enumerate(engine.features):
        known = values[:, index][np.isfinite(values[:, index])]
        if not len(known):
            rows.append([feature.name, "-", "-", "-", feature.unit])
            continue
        low, middle, high = np.percentile(known, (10, 50, 90))
        rows.append([feature.name, shown(middle), shown(low), shown(high), feature.unit])
    return table(rows, ("FEATURE", "MEDIAN", "10 %", "90 %", "UNIT"), right=(1, 2, 3))


def shown(value: float | None) -> str:
    """A feature for people."""
    return "-" if value is None or not math.isfinite(value) else number(float(value), 4)
