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

    GatewayError where matplotlib is missing or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise GatewayError("drawing needs: pip install 'edge-gateway[plot]'") from error
    figure = Figure(figsize=(12, 9), layout="constrained")
    wave, spectrum, demodulated = figure.subplots(3, 1)
    step = -(-len(samples) // MOST_POINTS)
    wave.plot(np.arange(0, len(samples), step) / rate_hz, np.asarray(samples)[::step], lw=0.5)
    wave.set(xlabel="s", ylabel=unit, title=title)
    _curve(spectrum, amplitude, line_hz, f"spectrum, {unit} peak")
    _curve(demodulated, envelope, line_hz, f"squared envelope, {unit}^2")
    speed_hz = features.get("speed_hz")
    if speed_hz:
        orders = [(f"{k}x", k * speed_hz) for k in (1, 2, 3)]
        _mark(spectrum, orders, "tab:green")
    lines = [(n, hz) for n in LINES if (hz := features.get(f"{n}_hz"))]
    _mark(demodulated, lines, "tab:red")
    if lines:
        demodulated.set_xlim(0, min(4 * max(hz for _, hz in lines), line_hz * len(envelope)))
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise GatewayError(f"{path} cannot be drawn: {error}") from error


def _curve(axes: Any, values: Sequence[float] | Array, line_hz: float, label: str) -> None:
    axes.plot(np.arange(len(values)) * line_hz, values, lw=0.6)
    axes.set(xlabel="Hz", ylabel=label)
    axes.margins(x=0)


def _mark(axes: Any, lines: Sequence[tuple[str, float]], colour: str) -> None:
    top = axes.get_ylim()[1]
    for name, hz in lines:
        axes.axvline(hz, color=colour, lw=0.8, ls="--")
        axes.text(hz, top, f" {name} {hz:.1f}", color=colour, rotation=90, va="top", fontsize=7)
