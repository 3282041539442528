"""Recordings that a mock stream plays, sample for sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drivers.mock.channels import Replay
from gateway.errors import GatewayError
from gateway.model import Array
from gateway.recordings import describe_recording, read_recording


def check_replay(spec: Replay, file: Path, rate_hz: float) -> str | None:
    """What is wrong with playing this recording at the stream's rate; None where all is well.

    Only the head of the file is read.
    """
    try:
        track = describe_recording(file, spec.channel)
    except GatewayError as error:
        return str(error)
    own_hz = track.rate_hz if spec.rate_hz is None else spec.rate_hz
    if own_hz is None:
        return f"{file.name} does not say its rate; give replay.rate_hz"
    if abs(own_hz - rate_hz) > 1e-6 * rate_hz:
        return f"{file.name} has {own_hz:g} Hz, but the stream has rate_hz: {rate_hz:g}"
    return None


class Player:
    """The samples of one channel from a recording, which is read by `load`."""

    def __init__(self, spec: Replay, file: Path, limit: float | None) -> None:
        self._spec = spec
        self._file = file
        self._limit = limit
        self._data: Array | None = None

    def load(self, loaded: dict[object, Array]) -> None:
        """Read the recording, or share what another channel has ``loaded``; GatewayError."""
        spec = self._spec
        key = (self._file, spec.channel, spec.scale, self._limit)
        if key not in loaded:
            # the rate was compared with the stream's; here it only has to be given
            data = read_recording(self._file, spec.channel, spec.rate_hz or 1.0).data
            data = np.multiply(data, spec.scale, dtype="f8").astype("f4")
            if self._limit is not None:
                np.clip(data, -self._limit, self._limit, out=data)
            loaded[key] = data
        self._data = loaded[key]

    @property
    def end(self) -> int | None:
        """Number of samples after which nothing comes; None where it loops."""
        return None if self._spec.loop or self._data is None else self._data.size

    def fill(self, out: Array, first: int) -> None:
        """Samples ``first``, ``first + 1``... into ``out``."""
        data = self._data
        if data is None:
            raise GatewayError(f"{self._file} was not loaded")
        done = 0
        while done < out.size:
            start = (first + done) % data.size
            take = min(data.size - start, out.size - done)
            out[done : done + take] = data[start : start + take]
            done += take
