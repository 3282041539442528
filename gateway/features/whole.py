"""A recording through the same engine that the daemon uses."""

from __future__ import annotations

import numpy as np

from gateway.features.engine import Engine
from gateway.features.moments import Moments
from gateway.model import Array


def windows(x: Array, engine: Engine, speed_hz: float | None = None) -> Array:
    """The features of every window of one channel, float64 [windows, F], at the hop of the spec.

    ``x`` is 1-D in the spec's unit; the engine keeps the last window's spectra. With ``hop`` equal
    to ``samples`` the windows do not overlap; with ``samples`` the length of the record there is
    one. ValueError where it is too short.

    The first window has no past: where the stream of a machine waits for it, its envelope begins
    here with the mirror image of the first samples, some 50 ms under the foot of the Hann window.
    """
    spec = engine.spec
    if x.ndim != 1:
        raise ValueError(f"samples of shape {x.shape}; expected one channel")
    if len(x) < spec.samples:
        raise ValueError(
            f"{len(x)} samples are less than one window of {spec.samples}"
            f" ({spec.samples / spec.rate_hz:g} s)"
        )
    x = np.ascontiguousarray(x, np.float32)  # as the samples of a stream are kept
    moments = Moments(spec, 1)
    rows = []
    for end in range(spec.hop, len(x) + 1, spec.hop):
        moments.push(x[None, end - spec.hop : end])
        if moments.full:
            window = x[None, end - spec.samples : end]
            rows.append(engine.compute(window, window[:, :0], moments, speed_hz)[0])
    return np.array(rows)
