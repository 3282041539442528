"""Draws a waveform with its spectra; the only place that imports matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.errors import GatewayError
from gateway.features.bearings import LINES

if TYPE_CHECKING:
    from gateway.features.engine import Engine
    from gateway.model import Array

Features = Mapping[str, float | None]

MOST_POINTS = 20_000

ORDERS_SHOWN = 20
"""The lower end of the spectrum is drawn by itself, up to this multiple of the shaft's speed."""


def draw(path: Path, samples: Array, engine: Engine, features: Features, title: str) -> None:
    """Draw a recording: all of its waveform, and the spectra of its last window."""
    spec = engine.spec
    draw_spectra(
        path,
        samples,
        spec.rate_hz,
        engine.spectrum(0)[1],
        engine.envelope_spectrum(0)[1],
        spec.line_hz,
        features,
        spec.unit,
        title,
    )


def draw_spectra(
    path: Path,
    samples: Sequence[float] | Array,
    rate_hz: float,
    amplitude: Sequence[float] | Array,
    envelope: Sequence[float] | Array,
    line_hz: float,
    features: Features,
    unit: str,
    title: str,
) -> None:
    """Draw waveform, spectrum and envelope spectrum with the lines of shaft and bearing marked.

    The spectra end with the waveform. With a speed the spectrum's lower end is drawn once more, by
    itself. A bearing line that counts is red, with its harmonics; where the others would be is
    grey. GatewayError where matplotlib is missing or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise GatewayError("drawing needs: pip install 'edge-gateway[plot]'") from error
    speed_hz = features.get("speed_hz")
    lines = [(name, hz) for name in LINES if (hz := features.get(f"{name}_hz"))]
    count = 2 + bool(speed_hz) + (len(envelope) > 0)
    figure = Figure(figsize=(12, 3 * count), layout="constrained")
    wave, spectrum, *more = figure.subplots(count, 1)
    wave.plot(*_outlined(np.asarray(samples), rate_hz), lw=0.5)
    wave.set(xlabel="s", ylabel=unit, title=title)
    wave.margins(x=0)
    window = f"of the last {1 / line_hz:.4g} s, lines {line_hz:.4g} Hz apart"
    _curve(spectrum, amplitude, line_hz, f"{unit} peak", f"spectrum {window}")
    if speed_hz:
        low = more.pop(0)
        last = max(int(ORDERS_SHOWN * speed_hz / line_hz), 32)
        _curve(low, amplitude[:last], line_hz, f"{unit} peak", "its lower end, with the orders")
        _mark(low, [(f"{k}x {k * speed_hz:.1f}", k * speed_hz) for k in (1, 2, 3)], "tab:green")
    if more:
        demodulated = more.pop(0)
        end_hz = line_hz * len(envelope)
        if lines:
            end_hz = min(5 * max(hz for _, hz in lines), end_hz)
        shown = envelope[: int(end_hz / line_hz) + 1]
        _curve(
            demodulated, shown, line_hz, f"{unit}^2", f"spectrum of the squared envelope {window}"
        )
        _mark_bearing(demodulated, lines, features)
        demodulated.set_xlim(0, end_hz)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise GatewayError(f"{path} cannot be drawn: {error}") from error


def _outlined(samples: Array, rate_hz: float) -> tuple[Array, Array]:
    """Times in s and samples; of a long record smallest and largest of each piece.

    So no impact is left out.
    """
    step = max(1, 2 * len(samples) // MOST_POINTS)
    if step == 1:
        return np.arange(len(samples)) / rate_hz, samples
    begins = np.arange(0, len(samples), step)
    pieces = (np.minimum.reduceat(samples, begins), np.maximum.reduceat(samples, begins))
    outline = np.stack(pieces, 1).reshape(-1)
    return np.repeat(begins / rate_hz, 2), outline


def _curve(
    axes: Any, values: Sequence[float] | Array, line_hz: float, label: str, title: str
) -> None:
    axes.plot(np.arange(len(values)) * line_hz, values, lw=0.6)
    axes.set(xlabel="Hz", ylabel=label)
    axes.set_title(title, fontsize="medium")
    axes.margins(x=0)


def _mark_bearing(axes: Any, lines: Sequence[tuple[str, float]], features: Features) -> None:
    for name, hz in lines:
        harmonics = int(features.get(f"{name}_harmonics") or 0)
        ratio = features.get(f"{name}_ratio")
        text = f"{name} {hz:.1f}" + (f", ratio {ratio:.3g}" if ratio is not None else "")
        _mark(axes, [(text, hz)], "tab:red" if harmonics else "tab:gray")
        _mark(axes, [(f"{name} {k}x", k * hz) for k in range(2, harmonics + 1)], "tab:red")


def _mark(axes: Any, lines: Sequence[tuple[str, float]], colour: str) -> None:
    """Vertical lines behind the curve, with their names."""
    top = axes.get_ylim()[1]
    for name, hz in lines:
        axes.axvline(hz, color=colour, lw=0.8, ls="--", alpha=0.6, zorder=0)
        axes.text(hz, top, f" {name} ", color=colour, rotation=90, va="top", ha="right", fontsize=7,
                  clip_on=True)  # fmt: skip
