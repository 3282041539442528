"""A look at one channel of a running stream: its waveform, spectra, and a file of its samples."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway import __version__
from gateway.analysis.stream import StreamAnalysis
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.features.engine import Engine
from gateway.features.whole import windows
from gateway.model import Array

MAX_CAPTURE_BYTES = 64 * 2**20
"""Largest file of samples: 10 minutes of one channel at 25.6 kHz."""


@dataclass(slots=True)
class Waveform:
    """The newest samples of one channel."""

    device: str
    channel: str
    unit: str
    rate_hz: float
    time_ns: int
    """Of the last sample."""
    samples: Array
    """float32 [n], in the unit."""
    setup: dict[str, Any]
    """What the numbers depend on: sensitivity, bands, bearing..."""


@dataclass(slots=True)
class Spectra:
    """Spectrum and envelope spectrum of the newest window of one channel."""

    waveform: Waveform
    line_hz: float
    """Distance of two lines."""
    amplitude: Array
    """float32 [lines], peak amplitude in the channel's unit, from 0 Hz on."""
    envelope: Array
    """float32 [lines], of the squared envelope, in the unit squared; empty where there is none."""
    features: dict[str, float | None]


def waveform(analysis: StreamAnalysis, index: int, seconds: float | None = None) -> Waveform:
    """The newest window of a channel, or the newest ``seconds`` as far as they are kept."""
    samples, time_ns, rate_hz = analysis.waveform(index, seconds)
    if not len(samples):
        raise DeviceUnavailable("no_data", "no samples came yet since the start or the last gap")
    channel = analysis.plan.channels[index]
    return Waveform(
        analysis.plan.device,
        channel.name,
        channel.unit,
        rate_hz,
        time_ns,
        samples,
        analysis.setup(index),
    )


def spectra(analysis: StreamAnalysis, index: int) -> Spectra:
    """The spectra of the newest window, by the same code as the features."""
    section = analysis.section_of(index)
    spec = section.spec
    # with samples of before the window, which its envelope needs, where they are kept
    wanted = spec.samples + section.moments.settling * spec.hop
    found = waveform(analysis, index, wanted / spec.rate_hz)
    speed_hz = analysis.speed_hz(index)
    if spec.rate_hz != found.rate_hz or len(found.samples) < spec.samples:
        raise DeviceUnavailable("no_data", "the window is not full yet")
    engine = Engine(spec, 1)
    past = found.samples[len(found.samples) % spec.hop :]
    values = windows(past, engine, speed_hz)[-1].tolist()
    found.samples = found.samples[-spec.samples :]
    features = {
        n: v if math.isfinite(v) else None for n, v in zip(engine.names, values, strict=True)
    }
    envelope = engine.envelope_spectrum(0)[1]
    return Spectra(found, spec.line_hz, engine.spectrum(0)[1], envelope, features)


def capture(found: Waveform) -> bytes:
    """A waveform as an ``.npz`` file: samples under the channel's name, and ``meta`` (JSON)."""
    if found.samples.nbytes > MAX_CAPTURE_BYTES:
        raise GatewayError(f"more than {MAX_CAPTURE_BYTES >> 20} MiB; ask for fewer seconds")
    meta = {
        "device": found.device,
        "channel": found.channel,
        "unit": found.unit,
        "rate_hz": found.rate_hz,
        "time_ns": found.time_ns,
        "first_ns": found.time_ns - round((len(found.samples) - 1) * 1e9 / found.rate_hz),
        "version": __version__,
        "setup": found.setup,
    }
    file = io.BytesIO()
    arrays: dict[str, Any] = {
        "rate_hz": np.float64(found.rate_hz),
        "time_ns": np.int64(found.time_ns),
        "unit": np.array(found.unit),
        "meta": np.array(json.dumps(meta)),
    }
    name = found.channel if found.channel not in arrays else f"{found.channel}_samples"
    arrays[name] = found.samples
    np.savez(file, **arrays)
    return file.getvalue()
